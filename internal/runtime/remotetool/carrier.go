package remotetool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"latchkey/internal/runtime"
	"latchkey/internal/runtime/mcptool"
)

// carrier is the way of a session's HTTP requests. The SDK makes the requests;
// the carrier bounds what comes back while it is read, keeps one call's failure
// from breaking the session of the others, and tells the session which call each
// message belongs to.
type carrier struct {
	base    http.RoundTripper
	url     *url.URL
	headers map[string]string
	cred    credential
	refused func() // the upstream does not take the credential
	session *mcptool.Session
	apart   bool            // streamable HTTP: each call has a stream of its own
	life    context.Context // of the session

	mu    sync.Mutex
	calls map[*mcptool.Running]string // the JSON-RPC ids of calls, for streams that are resumed
}

const (
	headerSession = "Mcp-Session-Id"
	headerWait    = 15 * time.Second // for the first bytes of what is no call
	maxErrorBody  = 64 << 10
)

// Errors of the way. Those that a caller is told of are put into words in
// explain.go.
var (
	errOrigin    = errors.New("remotetool: a request was to go to another origin")
	errForgotten = errors.New("remotetool: the upstream does not know the session any more")
	errUnread    = errors.New("remotetool: the answer is not of the protocol")
	errSlow      = errors.New("remotetool: no answer in time")
)

// statusError is an answer that is none.
type statusError struct {
	status     int
	challenge  string // WWW-Authenticate
	retryAfter time.Duration
	rpc        *jsonrpc.Error
}

func (e *statusError) Error() string {
	if e.rpc != nil {
		return fmt.Sprintf("remotetool: HTTP %d with JSON-RPC error %d", e.status, e.rpc.Code)
	}
	return fmt.Sprintf("remotetool: HTTP %d", e.status)
}

// Unwrap gives the JSON-RPC error of the answer. What refuses a credential is
// about that, whatever else it says.
func (e *statusError) Unwrap() error {
	if e.rpc == nil || e.status == http.StatusUnauthorized || e.status == http.StatusForbidden {
		return nil
	}
	return errors.Join(mcptool.Answered(e.rpc), e.rpc) // the SDK reads the latter when it connects
}

// sameOrigin lets the client follow a redirect that changes nothing but the path,
// with method and body as they were (307, 308).
func sameOrigin(req *http.Request, via []*http.Request) error {
	first := via[0]
	if origin(req.URL) != origin(first.URL) || req.Method != first.Method || len(via) > 3 {
		return errOrigin
	}
	return nil
}

func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}

// RoundTrip carries one request. A credential goes to the configured origin and
// to no other, whatever an upstream names as its endpoint.
func (c *carrier) RoundTrip(req *http.Request) (*http.Response, error) {
	if origin(req.URL) != origin(c.url) {
		closeBody(req)
		c.session.Break(errOrigin)
		return nil, errOrigin
	}
	if c.apart && req.Method == http.MethodGet && req.Header.Get("Last-Event-ID") == "" {
		return c.standing(req), nil
	}
	return c.carry(req)
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// carry sends a request and makes its answer safe to read.
func (c *carrier) carry(req *http.Request) (*http.Response, error) {
	r := mcptool.RunningOf(req.Context())
	id, method, err := message(req)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	// A resumed stream is of the call that began it.
	if r != nil && req.Method == http.MethodGet {
		id = c.callOf(r)
	} else if r != nil && id != "" {
		c.remember(r, id)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	unbind := context.AfterFunc(c.life, func() { cancel(context.Canceled) })
	done := func() { unbind(); cancel(nil) }
	if r != nil && id != "" {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: r.Sent})
	}
	if r == nil || method == "subscriptions/listen" {
		timer := time.AfterFunc(headerWait, func() { cancel(errSlow) })
		defer timer.Stop()
	}
	req = req.Clone(ctx)
	c.decorate(req.Header)
	res, err := c.base.RoundTrip(req)
	if err == nil {
		res, err = c.check(req, res, r, id, method, done)
	} else if cause := context.Cause(ctx); cause == errSlow {
		err = cause
	} else if ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", mcptool.ErrInterrupted, err)
	}
	if err != nil {
		done()
		switch {
		case r != nil:
			r.StreamEnded()
			if id != "" {
				r.Fail(err)
			}
		case !c.apart && req.Context().Err() == nil:
			c.session.Break(err) // the SDK does so, and keeps the words only
		}
		return nil, err
	}
	return res, nil
}

// decorate adds the connection's headers, and the credential last.
func (c *carrier) decorate(h http.Header) {
	for k, v := range c.headers {
		h.Set(k, v)
	}
	if c.cred.name != "" {
		h.Set(c.cred.name, c.cred.value.Reveal())
	}
	h.Set("User-Agent", "latchkey")
}

// message reads the id, as it is written, and the method of a JSON-RPC call in a
// request. Without an id it is none that is answered.
func message(req *http.Request) (id, method string, err error) {
	if req.Method != http.MethodPost || req.GetBody == nil {
		return "", "", nil
	}
	body, err := req.GetBody()
	if err != nil {
		return "", "", err
	}
	defer body.Close()
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if err := json.NewDecoder(body).Decode(&m); err != nil {
		return "", "", err
	}
	if m.Method == "" {
		return "", "", nil
	}
	return string(m.ID), m.Method, nil
}

func (c *carrier) remember(r *mcptool.Running, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.calls[r]; !known {
		r.OnEnd(func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			delete(c.calls, r)
		})
	}
	c.calls[r] = id
}

func (c *carrier) callOf(r *mcptool.Running) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls[r]
}

// check looks at an answer: what is of the protocol is passed on, bounded. The
// context of the request ends with the answer's body (done).
func (c *carrier) check(req *http.Request, res *http.Response, r *mcptool.Running, id, method string, done func()) (*http.Response, error) {
	if res.StatusCode >= 300 && res.StatusCode < 400 && res.Header.Get("Location") != "" {
		if r != nil {
			r.Refused()
		}
		res.Body = &closing{io.LimitReader(res.Body, maxErrorBody), res.Body, done}
		return res, nil // the client asks sameOrigin
	}
	if res.StatusCode < 200 || res.StatusCode >= 300 {
		return nil, c.notOK(req, res, r)
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	switch {
	case kind == "text/event-stream":
		res.Body = newEvents(c, res.Body, r, id, done)
	case id == "" || !c.apart: // a notification or answer of ours, or a POST of HTTP with SSE
		res.Body = &closing{io.LimitReader(res.Body, maxErrorBody), res.Body, done}
	case kind == "application/json":
		raw, err := readAll(res.Body)
		if err == nil {
			raw, err = c.answer(raw, r, id)
		}
		if err != nil {
			return nil, err
		}
		if method == "subscriptions/listen" && r != nil {
			r.StreamEnded()
		}
		res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(raw)), int64(len(raw))
		done()
	default:
		res.Body.Close()
		return nil, errUnread
	}
	return res, nil
}

// closing ends the request's context with the body.
type closing struct {
	io.Reader
	body io.Closer
	done func()
}

func (b *closing) Close() error {
	b.done()
	return b.body.Close()
}

// readAll reads a body of a bounded size and closes it.
func readAll(body io.ReadCloser) ([]byte, error) {
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, mcptool.MaxMessage+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", mcptool.ErrInterrupted, err)
	}
	if len(raw) > mcptool.MaxMessage {
		return nil, runtime.TooLarge(len(raw), mcptool.MaxMessage)
	}
	return raw, nil
}

// answer takes the answer to a call of that id, and to no other.
func (c *carrier) answer(raw []byte, r *mcptool.Running, id string) ([]byte, error) {
	raw = c.redact(raw)
	msg, err := jsonrpc.DecodeMessage(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", errUnread, err)
	}
	res, ok := msg.(*jsonrpc.Response)
	if !ok || !sameID(res.ID, id) {
		return nil, errUnread
	}
	if r != nil {
		r.Answered(res)
	}
	return raw, nil
}

func sameID(got jsonrpc.ID, want string) bool {
	raw, err := json.Marshal(got.Raw())
	return err == nil && string(raw) == want
}

// redact takes our own credential out of what comes back: an upstream knows it,
// its callers need not.
func (c *carrier) redact(raw []byte) []byte {
	token := c.cred.token.Reveal()
	if len(token) < 8 || !bytes.Contains(raw, []byte(token)) {
		return raw
	}
	return bytes.ReplaceAll(raw, []byte(token), []byte("[redacted]"))
}

// notOK reads an answer that refuses or fails.
func (c *carrier) notOK(req *http.Request, res *http.Response, r *mcptool.Running) error {
	raw, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBody))
	res.Body.Close()
	raw = c.redact(raw)
	e := &statusError{status: res.StatusCode, challenge: res.Header.Get("WWW-Authenticate"), retryAfter: retryAfter(res.Header)}
	if msg, err := jsonrpc.DecodeMessage(raw); err == nil {
		if m, ok := msg.(*jsonrpc.Response); ok && m.Error != nil {
			errors.As(m.Error, &e.rpc)
		}
	}
	if r != nil && (res.StatusCode < 500 || res.StatusCode == http.StatusServiceUnavailable) {
		r.Refused()
	}
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		c.refused()
	case req.Header.Get(headerSession) == "":
	case res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusBadRequest && bytes.Contains(bytes.ToLower(raw), []byte("session")):
		c.session.Retire(errForgotten)
		return errForgotten
	}
	return e
}

// retryAfter reads the header, in seconds only: a minute at most.
func retryAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n < 1 {
		return 0
	}
	return time.Duration(min(n, 60)) * time.Second
}
