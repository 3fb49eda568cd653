package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// An access says who may see a route.
type access int

const (
	// anyone may see what names no user and changes nothing: figures, health.
	anyone access = iota
	// staff may see who has what, and lend.
	staff
)

// A handler answers a request about a library.
type handler func(w http.ResponseWriter, r *http.Request, l *served)

// guard makes a route of a handler: it finds the library, and refuses who may not see it.
func (s *Server) guard(needs access, handle handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if needs == staff && !s.isStaff(r) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="library"`)
			s.refuse(w, r, http.StatusUnauthorized, "this is for staff: sign in, or send the token as a bearer token")
			return
		}
		l := s.meant(r)
		if l == nil {
			s.refuse(w, r, http.StatusNotFound, "this gateway does not show a library of that name")
			return
		}
		handle(w, r, l)
	})
}

// protect refuses what no route should see, and says what browsers may do with an answer.
func (s *Server) protect(next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"+
			" form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		if !s.isOwnHost(r) {
			s.refuse(w, r, http.StatusMisdirectedRequest, "this gateway is not known by that host name; --http-host adds one")
			return
		}
		if err := origins.Check(r); err != nil {
			s.refuse(w, r, http.StatusForbidden, "a page of another origin sent this; nothing was changed")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, bodyBytesMax)
		next.ServeHTTP(w, r)
	})
}

// isOwnHost reports whether a request asks for the gateway by a name of its own: of
// loopback, of the address that it came to, or one of Config.Hosts. A page elsewhere whose
// name was made to point here is so kept out: it is of the same origin for its browser.
func (s *Server) isOwnHost(r *http.Request) bool {
	name := hostOf(r.Host)
	if isLoopback(name) || slices.ContainsFunc(s.config.Hosts, func(own string) bool { return strings.EqualFold(own, name) }) {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && name != "" && name == hostOf(local.String())
}

// isStaff reports whether a request shows the token. Where there is none, it must come
// from this machine, and not by a proxy that passes on requests from elsewhere.
func (s *Server) isStaff(r *http.Request) bool {
	if s.config.Token == "" {
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} {
			if r.Header.Get(name) != "" {
				return false
			}
		}
		return isLoopback(r.RemoteAddr)
	}
	if shown, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return s.isToken(shown)
	}
	cookie, err := r.Cookie(cookieName)
	return err == nil && subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(s.cookieValue())) == 1
}

// isToken takes as long for any text of a length, so that nobody finds the token byte by
// byte.
func (s *Server) isToken(text string) bool {
	got, want := sha256.Sum256([]byte(text)), sha256.Sum256([]byte(s.config.Token))
	return s.config.Token != "" && subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

const cookieName = "library-staff"

// cookieValue is what a browser shows in place of the token, which it does not keep.
func (s *Server) cookieValue() string {
	mac := hmac.New(sha256.New, []byte(s.config.Token))
	mac.Write([]byte("cookie of staff"))
	return hex.EncodeToString(mac.Sum(nil))
}

// hostOf is the host of an address, without port and brackets.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	return strings.Trim(address, "[]")
}

// isLoopback reports whether an address is of this machine alone: on loopback, or a Unix
// socket.
func isLoopback(address string) bool {
	host := hostOf(address)
	if strings.EqualFold(host, "localhost") || strings.HasPrefix(host, "@") || strings.HasPrefix(host, "/") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
