package oauth

import (
	"errors"
	"net/http"
	"net/url"

	"github.com/labstack/echo/v4"

	"latchkey/internal/site"
)

// requestURIPrefix is RFC 9126 section 2.2.
const requestURIPrefix = "urn:ietf:params:oauth:request_uri:"

// push is RFC 9126. What is pushed is checked at once, exactly as /authorize
// checks it, and again there.
func (s *Server) push(c echo.Context) error {
	ctx := c.Request().Context()
	t := site.From(ctx)
	form, err := readForm(c)
	if err != nil {
		return err
	}
	if err := s.throttle(s.fetch, t.ID, c.Request()); err != nil {
		return err
	}
	if id := form.Get("client_id"); isDocument(id) || id == ConsoleClient { // authentication looks it up
		client, err := s.clientByID(c, t, id)
		if err != nil {
			return pushError(err)
		}
		if err := s.Store.PutOAuthClient(ctx, t.ID, client); err != nil {
			return err
		}
	}
	client, err := s.authenticateClient(ctx, c.Request(), form)
	if err != nil {
		return err
	}
	asked := url.Values{}
	for name, values := range form {
		if name != "client_secret" {
			asked[name] = values
		}
	}
	asked.Set("client_id", client.GetID())
	if _, err := s.read(c, t, asked); err != nil {
		return pushError(err)
	}
	handle := newSecret(prefixHandle)
	if err := s.Store.PushRequest(ctx, t.ID, Pushed{
		Handle: hashOf(handle), Client: client.GetID(), Parameters: asked.Encode(), ExpiresAt: s.Now().Add(s.RequestLifetime),
	}); err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, struct {
		RequestURI string `json:"request_uri"`
		ExpiresIn  int    `json:"expires_in"`
	}{requestURIPrefix + handle, int(s.RequestLifetime.Seconds())})
}

// pushError writes for a client what /authorize shows to a person.
func pushError(err error) error {
	switch {
	case errors.Is(err, errUnregisteredRedirect):
		return say(errInvalidRequest, "redirect_uri is not one of the client's.")
	case errors.Is(err, errDocument):
		return say(errInvalidClient, "The client's document could not be read or is not valid.")
	case errors.Is(err, errUnknownClient):
		return say(errInvalidClient, "This client is not registered here. Register again.")
	}
	return err
}
