package gateway

import (
	"net/http"
)

func (s *Server) signInRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /sign-in", func(w http.ResponseWriter, r *http.Request) {
		s.render(w, r, http.StatusOK, "sign-in.html", "")
	})
	mux.HandleFunc("POST /sign-in", s.signIn)
	mux.HandleFunc("POST /sign-out", s.signOut)
}

// signIn gives a browser a cookie for the token.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	// Of the body alone: browsers and logs keep addresses.
	if !s.isToken(r.PostFormValue("token")) {
		s.render(w, r, http.StatusUnauthorized, "sign-in.html", "That is not the token.")
		return
	}
	s.setCookie(w, s.cookieValue(), 0)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	s.setCookie(w, "", -1)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (s *Server) setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: s.config.Certificate != "",
	})
}
