package oauth

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
)

// withCORS lets any web page call the endpoint. It carries no cookie's
// authority: these endpoints read none.
func withCORS(h echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		allowOrigin(c.Response().Header())
		return h(c)
	}
}

func allowOrigin(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
}

func answerPreflight(methods []string) echo.HandlerFunc {
	allowed := strings.Join(append([]string{http.MethodOptions}, methods...), ", ")
	return func(c echo.Context) error {
		h := c.Response().Header()
		allowOrigin(h)
		h.Set("Access-Control-Allow-Methods", allowed)
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept, MCP-Protocol-Version")
		h.Set("Access-Control-Max-Age", "600")
		return c.NoContent(http.StatusNoContent)
	}
}
