package oauth

import (
	"mime"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"
)

// maxForm bounds the body of a form request.
const maxForm = 64 << 10

// readForm reads the body of an API request: a form of the size that is
// needed, nothing in the URL's query (which is logged on the way), and each
// parameter once (RFC 6749 section 3.2), but for resource.
func readForm(c echo.Context) (url.Values, error) {
	r := c.Request()
	if ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || ct != "application/x-www-form-urlencoded" {
		return nil, say(errInvalidRequest, "Send the parameters as application/x-www-form-urlencoded.")
	}
	if r.URL.RawQuery != "" {
		return nil, say(errInvalidRequest, "Send all parameters in the body, none in the URL.")
	}
	r.Body = http.MaxBytesReader(c.Response(), r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, readError(err)
	}
	return r.PostForm, once(r.PostForm)
}

func readError(err error) error {
	if inProtocol(err).CodeField == http.StatusRequestEntityTooLarge {
		return err
	}
	return say(errInvalidRequest, "The parameters cannot be read.")
}

// once refuses a parameter that is there twice: which one counts would depend
// on who looks.
func once(form url.Values) error {
	for name, values := range form {
		if len(values) > 1 && name != "resource" {
			return say(errInvalidRequest, "The parameter %.40s is there twice.", name)
		}
	}
	return nil
}
