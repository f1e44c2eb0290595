package httptool

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"latchkey/internal/egress"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// client sends the requests of one server.
type client struct {
	connection connection
	base       *url.URL
	origin     string
	policy     *egress.Policy
	transport  schemes // to its own host, but where a certificate is shown
	certified  transports
	elsewhere  schemes
	breaker    *breaker
	tokens     tokens
}

// schemes dials encrypted and plain connections, each by its own rule.
type schemes struct{ https, http *http.Transport }

// RoundTrip sends one request. Its errors do not hold the address, unlike those of
// http.Client: a key may stand in it.
func (s schemes) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" {
		return s.http.RoundTrip(r)
	}
	return s.https.RoundTrip(r)
}

var errPlain = errors.New("a public address without encryption")

func newClient(c connection, policy *egress.Policy, t tenants.ID) (*client, error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Host == "" {
		return nil, errors.New("the base_url cannot be used")
	}
	cl := &client{connection: c, base: base, origin: origin(base), policy: policy, transport: schemes{policy.Transport(), policy.Transport()}}
	cl.transport.https.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	cl.elsewhere = cl.transport
	if c.TLS != nil && c.TLS.CA != "" {
		cl.elsewhere.https = policy.Transport()
		cl.elsewhere.https.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if cl.transport.https.TLSClientConfig.RootCAs, err = authorities(c.TLS.CA); err != nil {
			return nil, fmt.Errorf("tls.ca %w", err)
		}
	}
	// What is not encrypted stays on private networks: who declared it cannot know
	// where a name leads tomorrow.
	cl.transport.http.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := policy.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if at, err := netip.ParseAddrPort(conn.RemoteAddr().String()); err == nil && egress.Public(at.Addr().Unmap()) {
			conn.Close()
			return nil, errPlain
		}
		return conn, nil
	}
	cl.breaker = breakerOf(t, cl.origin)
	return cl, nil
}

func (cl *client) close() {
	cl.certified.close()
	cl.elsewhere.https.CloseIdleConnections()
	cl.transport.https.CloseIdleConnections()
	cl.transport.http.CloseIdleConnections()
}

// needs reports whether calls of an access show a credential.
func (cl *client) needs(a registry.Access) bool { return len(cl.connection.secretPaths(a)) > 0 }

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   []byte
	// cut: the body was larger than it may be, and is not there.
	cut bool
}

// exchange is one call's way to the upstream, however many requests it takes.
type exchange struct {
	*client
	call   *runtime.Call
	req    *request
	out    outgoing
	repeat bool // it is safe to send again
	cred   runtime.Credential
	left   int  // further requests that may be sent
	logged bool // a new token was tried
}

// send sends the request of a call until there is an answer to give, within the
// tool's time.
func (cl *client) send(ctx context.Context, c *runtime.Call, env runtime.Env, r *request, out outgoing, repeat bool) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	x := &exchange{client: cl, call: c, req: r, out: out, repeat: repeat, left: cl.connection.Retries}
	if cl.needs(c.Access) {
		var err error
		if x.cred, err = env.Credential(ctx); err != nil {
			return nil, err
		}
	}
	for pause := 200 * time.Millisecond; ; pause *= 2 {
		rep, wait, err := x.attempt(ctx)
		if wait < 0 || err == nil && wait == 0 {
			return rep, err
		}
		// Half of it by chance, so that those who failed together do not come
		// back together.
		if wait == 0 {
			wait = pause/2 + rand.N(pause/2)
		}
		if deadline, has := ctx.Deadline(); has && time.Until(deadline) < wait+50*time.Millisecond {
			return rep, err // it would only be late
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return rep, err
		}
	}
}

// attempt sends the request once. A negative wait is the end; with an error, zero
// asks for another attempt after a pause.
func (x *exchange) attempt(ctx context.Context) (rep *reply, wait time.Duration, err error) {
	own, err := x.own(x.cred)
	if err != nil {
		return nil, -1, err
	}
	l, err := x.login(ctx, x.cred, x.call.Access, own)
	if err != nil {
		return nil, -1, x.ended(ctx, err)
	}
	done, err := x.breaker.allow()
	if err != nil {
		return nil, -1, err
	}
	rep, sent, err := x.follow(ctx, l, own)
	done(err == nil && rep.status != http.StatusBadGateway && rep.status != http.StatusServiceUnavailable && rep.status != http.StatusGatewayTimeout, ctx)
	if err != nil {
		again := x.left > 0 && ctx.Err() == nil && (x.repeat || !sent) && !errors.Is(err, egress.ErrPrivate) && !errors.Is(err, errPlain) && !certificateRefused(err)
		x.left--
		if again {
			return nil, 0, x.noAnswer(ctx, err, sent)
		}
		return nil, -1, x.noAnswer(ctx, err, sent)
	}
	rep.body = []byte(scrub(string(rep.body), l.hide))
	switch rep.status {
	case http.StatusUnauthorized:
		if l.refresh != nil && !x.logged {
			x.logged = true
			l.refresh()
			return rep, time.Millisecond, nil
		}
		if x.cred.Discard != nil {
			x.cred.Discard()
		}
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if x.repeat && x.left > 0 {
			x.left--
			return rep, max(retryAfter(rep.header), time.Millisecond*100), nil
		}
	}
	return rep, -1, nil
}

// follow sends the request, and follows the redirects that may be.
func (x *exchange) follow(ctx context.Context, l login, via schemes) (rep *reply, sent bool, err error) {
	address := strings.TrimRight(x.base.String(), "/") + x.out.path
	u, err := url.Parse(address)
	if err != nil || origin(u) != x.origin {
		return nil, false, errors.New("the request has no address")
	}
	u.RawQuery = x.out.query
	for hop := 0; ; hop++ {
		rep, reached, err := x.roundTrip(ctx, u, l, via)
		if sent = sent || reached; err != nil {
			return nil, sent, err
		}
		next := x.redirect(rep, u)
		if next == nil || hop >= x.connection.Redirects || !safe(x.req.Method) {
			return rep, sent, nil
		}
		u = next
	}
}

// redirect is where an answer leads, if that is a place to go to.
func (x *exchange) redirect(rep *reply, from *url.URL) *url.URL {
	switch rep.status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil
	}
	next, err := from.Parse(rep.header.Get("Location"))
	if err != nil || next.Host == "" || next.User != nil || rep.header.Get("Location") == "" {
		return nil
	}
	next.Fragment = ""
	if o := origin(next); o != x.origin && !slices.Contains(x.connection.Origins, o) {
		return nil
	}
	return next
}

// roundTrip sends one request. The credential and all else that is the
// connection's goes to its own origin only.
func (x *exchange) roundTrip(ctx context.Context, u *url.URL, l login, via schemes) (_ *reply, sent bool, err error) {
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { wrote.Store(true) }})
	own := origin(u) == x.origin
	to := *u
	if own && l.query != "" {
		to.RawQuery = strings.TrimPrefix(to.RawQuery+"&"+l.query, "&")
	}
	var body io.Reader
	if x.out.media != "" {
		body = bytes.NewReader(x.out.body)
	}
	req, err := http.NewRequestWithContext(ctx, x.req.Method, to.String(), body)
	if err != nil {
		return nil, false, errors.New("the request cannot be made")
	}
	req.Header.Set("Accept", "application/json, */*;q=0.5")
	req.Header.Set("User-Agent", "latchkey")
	if own {
		x.headers(req.Header, l)
	} else {
		via = x.elsewhere
	}
	res, err := via.RoundTrip(req)
	if err != nil {
		return nil, wrote.Load(), err
	}
	defer res.Body.Close()
	rep := &reply{status: res.StatusCode, header: res.Header}
	if rep.body, err = io.ReadAll(io.LimitReader(res.Body, int64(x.req.MaxBytes)+1)); err != nil {
		return nil, true, err
	}
	if err := ctx.Err(); err != nil {
		// Over TLS our hanging up is read before the connection is gone: an upstream
		// that stops for it may answer with what it has.
		return nil, true, err
	}
	if len(rep.body) > x.req.MaxBytes {
		rep.body, rep.cut = nil, true
	}
	return rep, true, nil
}

// headers sets what belongs to the call and to the connection.
func (x *exchange) headers(h http.Header, l login) {
	for name, values := range x.out.header {
		h[name] = values
	}
	for name, values := range l.header {
		h[name] = values
	}
	if x.out.media != "" {
		h.Set("Content-Type", x.out.media)
	}
	if x.call.Traceparent != "" && headerText(x.call.Traceparent) {
		h.Set("Traceparent", x.call.Traceparent)
	}
	if name := x.connection.IdempotencyHeader; name != "" && x.call.IdempotencyKey != "" && headerText(x.call.IdempotencyKey) {
		// In lower case on purpose: net/http takes a request that has the header
		// in its usual form for one that it may send twice by itself. Whether that
		// is so is the tool's to say.
		h[strings.ToLower(name)] = []string{x.call.IdempotencyKey}
	}
}

// ended is the end of the time for what has not been sent.
func (x *exchange) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return x.unreachable(ctx, err, "")
	}
	return err
}

// noAnswer is the error where none came.
func (x *exchange) noAnswer(ctx context.Context, err error, sent bool) error {
	if sent && x.call.Access == registry.WriteAccess && !certificateRefused(err) {
		return fault.New(fault.OutcomeUnknown, "The request was sent to the system behind this tool, and no answer came. It may have been done or not: look before you try again.").Because(err)
	}
	return x.unreachable(ctx, err, "The system behind this tool")
}

// unreachable is the error for what was not reached: nothing was done.
func (cl *client) unreachable(ctx context.Context, err error, who string) error {
	var unknown x509.UnknownAuthorityError
	var wrongHost x509.HostnameError
	var invalidCert x509.CertificateInvalidError
	switch {
	case errors.Is(err, egress.ErrPrivate):
		return fault.New(fault.EgressRefused, "This server is at an address that the platform may not connect to. Nothing was done. Do not retry; tell your administrator: the operator of the platform allows ranges of addresses.").Because(err)
	case errors.Is(err, errPlain):
		return fault.New(fault.EgressRefused, "This server is at a public address, and its connection is not encrypted. Nothing was done. Do not retry; tell your administrator to write https:// into base_url.").Because(err)
	case certificateRefused(err):
		return refusedCertificate(len(cl.connection.secretsOfTLS()) > 0, cmp.Or(who, "The system behind this tool"), err)
	case ctx.Err() == context.Canceled:
		return fault.New(fault.Cancelled, "The call was cancelled.").Because(err)
	case ctx.Err() != nil:
		return fault.New(fault.DeadlineExceeded, "The system behind this tool took longer than it may. Ask for less at a time, or call again later.").Because(err)
	case errors.As(err, &unknown) || errors.As(err, &wrongHost) || errors.As(err, &invalidCert):
		return fault.New(fault.UpstreamAway, "%s shows a certificate that cannot be trusted. Nothing was done. Do not retry; tell your administrator: where a company vouches for its own servers, its certificate belongs into tls.ca of the connection.", who).Because(err)
	}
	return fault.New(fault.UpstreamAway, "%s cannot be reached at the moment. Nothing was done. Call again in 2 s.", who).After(2 * time.Second).Because(err)
}

// retryAfter is what an answer asks for, within reason; 0 where it asks nothing.
func retryAfter(h http.Header) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if n, err := strconv.Atoi(v); err == nil && n >= 0 {
		return time.Duration(min(n, 86400)) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(at), 0), 24*time.Hour)
	}
	return 0
}

func tooMany(h http.Header) error {
	wait := retryAfter(h)
	if wait == 0 {
		wait = 5 * time.Second
	}
	wait = max(wait.Round(time.Second), time.Second)
	return fault.New(fault.Busy, "The system behind this tool takes no more calls for now. Nothing was done. Call again in %d s.", int(wait.Seconds())).
		After(wait).Because(fmt.Errorf("it answered %d", http.StatusTooManyRequests))
}
