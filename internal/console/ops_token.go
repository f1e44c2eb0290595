package console

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/secret"
)

// opsTokenLifetime is how long a token of an operators' key is good.
const opsTokenLifetime = 10 * time.Minute

// oauthError is RFC 6749 section 5.2.
type oauthError struct {
	status      int
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// opsToken is the client credentials grant for keys of operators. Its tokens
// are opaque and looked up at each call: they end with the key.
func (s *Console) opsToken(c echo.Context) error {
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	k, refused := s.opsClient(c)
	if refused != nil {
		if refused.status == http.StatusUnauthorized && c.Request().Header.Get("Authorization") != "" {
			h.Set("WWW-Authenticate", `Basic realm="ops", charset="UTF-8"`)
		}
		s.opsNote(c.Request(), "token refused: "+refused.Error)
		return c.JSON(refused.status, refused)
	}
	value, now := callers.NewOperatorToken(), s.Now()
	err := s.Operators.CreateOperatorToken(c.Request().Context(), callers.OperatorToken{Hash: callers.HashOf(value), Key: k.ID, ExpiresAt: now.Add(opsTokenLifetime)}, now)
	if err == nil && k.UseDue(now) {
		err = s.Operators.UseOperatorKey(c.Request().Context(), k.ID, now)
	}
	if err != nil {
		e := s.opsUnavailable(c, err)
		return c.JSON(e.status, e)
	}
	s.opsNote(c.Request(), "token for "+k.ID)
	return c.JSON(http.StatusOK, struct {
		Access  secret.Text `json:"access_token"`
		Type    string      `json:"token_type"`
		Expires int         `json:"expires_in"`
	}{value, "Bearer", int(opsTokenLifetime.Seconds())})
}

func (s *Console) opsUnavailable(c echo.Context, err error) *oauthError {
	s.Log.ErrorContext(c.Request().Context(), "operators' token", "error", err)
	f := fault.Of(err)
	if f.Code.Category != fault.Downstream {
		return &oauthError{http.StatusInternalServerError, "server_error", "The platform could not handle this request. Try again in a minute."}
	}
	c.Response().Header().Set("Retry-After", strconv.Itoa(max(1, int(f.RetryAfter.Seconds()))))
	return &oauthError{http.StatusServiceUnavailable, "temporarily_unavailable", f.Message}
}

// opsClient reads the request and authenticates its key. A key that is unknown,
// wrong, revoked or expired is answered alike.
func (s *Console) opsClient(c echo.Context) (callers.Key, *oauthError) {
	r := c.Request()
	bad := func(words string) (callers.Key, *oauthError) {
		return callers.Key{}, &oauthError{http.StatusBadRequest, "invalid_request", words}
	}
	if ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || ct != "application/x-www-form-urlencoded" {
		return bad("Send the parameters as application/x-www-form-urlencoded.")
	}
	if r.URL.RawQuery != "" {
		return bad("Send all parameters in the body, none in the URL.")
	}
	r.Body = http.MaxBytesReader(c.Response(), r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return bad("The parameters cannot be read.")
	}
	for _, values := range r.PostForm {
		if len(values) > 1 {
			return bad("A parameter is there twice.")
		}
	}
	form := r.PostForm
	id, shown := form.Get("client_id"), secret.Text(form.Get("client_secret"))
	if user, password, ok := r.BasicAuth(); ok {
		if shown != "" {
			return bad("The key is there in two ways. Use one.")
		}
		basicID, err1 := url.QueryUnescape(user)
		basicSecret, err2 := url.QueryUnescape(password)
		if err1 != nil || err2 != nil || id != "" && id != basicID {
			return bad("The id and the secret in the Authorization header must be percent-encoded, and be of the client that is named.")
		}
		id, shown = basicID, secret.Text(basicSecret)
	}
	k, ok, err := s.operatorKey(r.Context(), id, shown)
	switch {
	case err != nil:
		return k, s.opsUnavailable(c, err)
	case !ok:
		return k, &oauthError{http.StatusUnauthorized, "invalid_client", "The client's authentication is wrong."}
	case form.Get("grant_type") == "":
		return bad("Send grant_type.")
	case form.Get("grant_type") != "client_credentials":
		return k, &oauthError{http.StatusBadRequest, "unsupported_grant_type", "The grant that is served here is client_credentials."}
	case form.Get("scope") != "":
		return k, &oauthError{http.StatusBadRequest, "invalid_scope", "A key of operators does all that an operator can. Send no scope."}
	}
	return k, nil
}
