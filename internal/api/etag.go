package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
)

// tag gives a successful JSON answer its ETag: a hash of what it says, so that
// it needs no version to be kept and cannot disagree with what was read.
func (h *held) tag(op *operation) {
	if h.status == http.StatusOK && strings.HasPrefix(h.header.Get("Content-Type"), "application/json") {
		h.header.Set("ETag", tagOf(h.body.Bytes(), op.volatile))
	}
}

func tagOf(body []byte, volatile []string) string {
	if len(volatile) > 0 {
		var o map[string]json.RawMessage
		if json.Unmarshal(body, &o) == nil {
			for _, name := range volatile {
				delete(o, name)
			}
			if stable, err := json.Marshal(o); err == nil {
				body = stable
			}
		}
	}
	sum := sha256.Sum256(body)
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
}

// unchanged holds If-Match against what a GET of the same path answers now. The
// tenant's changes wait for each other, so that it stays so until the write is
// done.
func (a *API) unchanged(c echo.Context, r *request) error {
	want := splitTags(c.Request().Header.Values("If-Match"))
	if len(want) == 0 {
		return nil
	}
	now, err := a.read(c)
	if fault.HasCode(err, fault.NotFound) {
		return fault.New(fault.Stale, "There is nothing to match: this does not exist, or was deleted meanwhile. Send no If-Match to create it.").Because(err)
	}
	if err != nil {
		return err
	}
	if slices.Contains(want, "*") || slices.Contains(want, now) {
		return nil
	}
	return fault.New(fault.Stale, "Somebody changed this after you read it, and nothing was changed now. Read it again and decide again.")
}

// read asks for the same path as the caller would, and returns its ETag.
func (a *API) read(c echo.Context) (string, error) {
	inner := c.Request().Clone(c.Request().Context())
	inner.Method, inner.Body, inner.ContentLength = http.MethodGet, http.NoBody, 0
	u := *inner.URL
	u.RawQuery = ""
	inner.URL = &u
	h := &held{header: http.Header{}}
	ic := a.echo.NewContext(inner, h)
	a.echo.Router().Find(http.MethodGet, echo.GetPath(inner), ic)
	op := a.document.byRoute[http.MethodGet+" "+ic.Path()]
	if op == nil {
		return "", fault.New(fault.InvalidRequest, "This cannot be read, so there is no ETag to match. Leave If-Match out.")
	}
	if err := ic.Handler()(ic); err != nil {
		return "", err
	}
	h.tag(op)
	return h.header.Get("ETag"), nil
}
