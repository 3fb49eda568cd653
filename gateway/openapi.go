package gateway

import (
	_ "embed"
	"net/http"
)

// openAPI describes the API, for programs that make clients of such descriptions. A test
// compares every answer with it.
//
//go:embed openapi.json
var openAPI []byte

func showOpenAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // the client may be gone
}
