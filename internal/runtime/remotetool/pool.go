package remotetool

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/egress"
	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/mcptool"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

const (
	connectWait = 20 * time.Second // for an upstream to greet
	idleClose   = 5 * time.Minute
	sweepEvery  = 30 * time.Second
	maxSessions = 256 // of one server on one worker
	firstPause  = 250 * time.Millisecond
	longPause   = 5 * time.Second
)

// upstream keeps the sessions of one server: one for each credential, which is
// each person's own where they have one.
type upstream struct {
	connection
	url   *url.URL
	http  *http.Transport
	log   *slog.Logger
	salt  [16]byte // of the keys: no secret is kept to compare with
	life  context.Context
	end   context.CancelFunc
	ended sync.WaitGroup

	mu       sync.Mutex
	sessions map[sessionKey]*pooled
}

type sessionKey struct {
	user   tenants.UserID // empty where the credential is the server's
	secret [sha256.Size]byte
}

// pooled is a session, or the making of one.
type pooled struct {
	session *mcptool.Session
	err     error         // of the last try to connect
	making  chan struct{} // closed when that is over; nil: nobody tries
	fails   int
	until   time.Time // before which nobody tries again
	used    time.Time
	discard func() // says that the credential is refused
}

func newUpstream(c connection, h runtime.Host) (*upstream, error) {
	at, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	policy := h.Egress
	if policy == nil {
		policy = &egress.Policy{}
	}
	u := &upstream{connection: c, url: at, http: policy.Transport(), log: h.Log, sessions: map[sessionKey]*pooled{}}
	if u.log == nil {
		u.log = slog.New(slog.DiscardHandler)
	}
	rand.Read(u.salt[:])
	u.life, u.end = context.WithCancel(context.Background())
	u.ended.Go(u.sweep)
	return u, nil
}

// credential is what stands in the requests of a call: a header and its value,
// none for an upstream that asks for nothing.
type credential struct {
	name    string
	value   secret.Text
	token   secret.Text // the secret part of the value
	discard func()
}

func (u *upstream) credential(ctx context.Context, c *runtime.Call, env runtime.Env) (credential, error) {
	if u.Auth.Type == noAuth {
		return credential{}, nil
	}
	if u.Credentials.PerUser && c.Grant == "" {
		return credential{}, u.notConnected()
	}
	got, err := env.Credential(ctx)
	if err != nil {
		return credential{}, err
	}
	field, name, before := fieldAccess, "Authorization", "Bearer "
	switch u.Auth.Type {
	case bearer:
		field = fieldToken
	case header:
		field, name, before = fieldValue, u.Auth.Header, ""
	}
	token := got.Fields[field]
	if token == "" {
		u.forget(c)
		return credential{}, u.notConnected()
	}
	return credential{name, secret.Text(before + token.Reveal()), token, got.Discard}, nil
}

func (u *upstream) keyOf(c *runtime.Call, cred credential) sessionKey {
	var k sessionKey
	if u.Credentials.PerUser {
		k.user = c.Caller.User
	}
	h := sha256.New()
	h.Write(u.salt[:])
	h.Write([]byte(cred.value.Reveal()))
	h.Sum(k.secret[:0])
	return k
}

// Session gives the session of the call's credential, connecting if there is
// none (mcptool.Upstream).
func (u *upstream) Session(ctx context.Context, c *runtime.Call, env runtime.Env) (*mcptool.Session, error) {
	cred, err := u.credential(ctx, c, env)
	if err != nil {
		return nil, err
	}
	key := u.keyOf(c, cred)
	for {
		s, wait, err := u.find(key, cred)
		if s != nil || err != nil {
			return s, err
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if s, err := u.made(key, wait); s != nil || err != nil {
			return s, err
		}
	}
}

// find gives the session, or begins to make one and gives what to wait for.
func (u *upstream) find(key sessionKey, cred credential) (s *mcptool.Session, wait <-chan struct{}, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.life.Err() != nil {
		return nil, nil, u.life.Err()
	}
	p := u.sessions[key]
	if p == nil {
		if len(u.sessions) >= maxSessions && !u.makeRoom() {
			return nil, nil, fault.New(fault.Busy, "Too many people use this server at once. Try again in a moment.").After(time.Second)
		}
		p = &pooled{}
		u.sessions[key] = p
		u.replace(key)
	}
	p.used, p.discard = time.Now(), cred.discard
	switch {
	case p.session != nil && p.session.Err() == nil:
		return p.session, nil, nil
	case p.making != nil:
		return nil, p.making, nil
	case p.err != nil && time.Now().Before(p.until):
		return nil, nil, p.err
	}
	p.making = make(chan struct{})
	u.ended.Go(func() { u.make(key, p, cred) })
	return nil, p.making, nil
}

// made is what a try that is over has come to. A session that broke meanwhile is
// none: the caller begins again.
func (u *upstream) made(key sessionKey, try <-chan struct{}) (*mcptool.Session, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	p := u.sessions[key]
	switch {
	case p == nil || p.making != nil:
		return nil, nil
	case p.err != nil:
		return nil, p.err
	case p.session != nil && p.session.Err() == nil:
		return p.session, nil
	}
	return nil, nil
}

// make connects. It is nobody's call, so that none that is cancelled takes the
// others with it.
func (u *upstream) make(key sessionKey, p *pooled, cred credential) {
	ctx, cancel := context.WithTimeout(u.life, connectWait)
	defer cancel()
	s, err := u.connect(ctx, cred, func() { u.refusedCredential(p) })
	if s != nil && !u.keep(key, p, s, err) {
		s.Close()
	} else if s == nil {
		u.keep(key, p, nil, err)
	}
}

// keep keeps what a try has come to, and reports whether anybody wants it still.
func (u *upstream) keep(key sessionKey, p *pooled, s *mcptool.Session, err error) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer func() { close(p.making); p.making = nil }()
	if u.sessions[key] != p {
		p.err = context.Canceled
		return false
	}
	p.session, p.err = s, err
	if err != nil {
		p.until = time.Now().Add(min(firstPause<<p.fails, longPause))
		p.fails = min(p.fails+1, 10)
	} else {
		p.fails = 0
	}
	return true
}

func (u *upstream) refusedCredential(p *pooled) {
	u.mu.Lock()
	discard := p.discard
	u.mu.Unlock()
	if discard != nil {
		discard()
	}
}

// connect speaks the newest protocol that the server knows, over the transport
// that it has.
func (u *upstream) connect(ctx context.Context, cred credential, refused func()) (*mcptool.Session, error) {
	if u.Transport != sse {
		s, err := u.over(ctx, streamable, cred, refused)
		if err == nil || u.Transport == streamable || !isOlder(err) {
			return s, err
		}
		if s, older := u.over(ctx, sse, cred, refused); older == nil {
			return s, nil
		}
		return nil, err
	}
	return u.over(ctx, sse, cred, refused)
}

func (u *upstream) over(ctx context.Context, transport string, cred credential, refused func()) (*mcptool.Session, error) {
	o := mcptool.Options{Apart: transport == streamable, Personal: u.Credentials.PerUser, Protocol: u.Protocol, Log: u.log}
	return mcptool.Connect(ctx, o, func(life context.Context, s *mcptool.Session) (mcp.Transport, error) {
		c := &carrier{base: u.http, url: u.url, headers: u.Headers, cred: cred, refused: refused, session: s, apart: o.Apart, life: life, calls: map[*mcptool.Running]string{}}
		client := &http.Client{Transport: c, CheckRedirect: sameOrigin}
		if transport == sse {
			return &mcp.SSEClientTransport{Endpoint: u.URL, HTTPClient: client, MaxEventSize: 2 * mcptool.MaxMessage}, nil
		}
		return &mcp.StreamableClientTransport{Endpoint: u.URL, HTTPClient: client, MaxEventSize: 2 * mcptool.MaxMessage}, nil
	})
}

// Reach asks whether anybody is there, where the call has no grant for anybody's
// account: a server that wants a credential is there (mcptool.Reacher).
func (u *upstream) Reach(ctx context.Context, c *runtime.Call) (without bool, err error) {
	if !u.Credentials.PerUser || c.Grant != "" {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, headerWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.URL, nil)
	if err != nil {
		return true, err
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := u.http.RoundTrip(req)
	if err != nil {
		return true, err
	}
	res.Body.Close()
	if res.StatusCode >= 500 {
		return true, &statusError{status: res.StatusCode, retryAfter: retryAfter(res.Header)}
	}
	return true, nil
}

// replace retires the session of the same person with an older credential. It
// runs with mu held.
func (u *upstream) replace(key sessionKey) {
	for k, p := range u.sessions {
		if k != key && k.user == key.user && p.making == nil {
			u.drop(k, p)
		}
	}
}

// forget ends the session of a person who is connected no more.
func (u *upstream) forget(c *runtime.Call) {
	var key sessionKey
	if u.Credentials.PerUser {
		key.user = c.Caller.User
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.replace(key)
}

// drop forgets a session; calls that run on it end first. It runs with mu held.
func (u *upstream) drop(key sessionKey, p *pooled) {
	delete(u.sessions, key)
	if p.session != nil {
		p.session.Retire(errReplaced)
	}
}

var errReplaced = fmt.Errorf("remotetool: the session was replaced")

// makeRoom drops the session that was not used for longest, if one is idle. It
// runs with mu held.
func (u *upstream) makeRoom() bool {
	var oldest sessionKey
	var found *pooled
	for k, p := range u.sessions {
		if p.making == nil && (p.session == nil || p.session.Busy() == 0) && (found == nil || p.used.Before(found.used)) {
			oldest, found = k, p
		}
	}
	if found == nil {
		return false
	}
	u.drop(oldest, found)
	return true
}

// sweep closes what nobody used for a while.
func (u *upstream) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-u.life.Done():
			return
		case now := <-tick.C:
			u.sweepOnce(now)
		}
	}
}

func (u *upstream) sweepOnce(now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for k, p := range u.sessions {
		idle := p.making == nil && now.Sub(p.used) > idleClose
		if p.session != nil {
			idle = idle && p.session.Busy() == 0 && now.Sub(p.session.LastUsed()) > idleClose
		}
		if idle {
			u.drop(k, p)
		}
	}
}

// Close ends every session (mcptool.Upstream).
func (u *upstream) Close() error {
	u.end()
	u.mu.Lock()
	for _, p := range u.sessions {
		if s := p.session; s != nil {
			u.ended.Go(func() { s.Close() })
		}
	}
	clear(u.sessions)
	u.mu.Unlock()
	u.ended.Wait()
	u.http.CloseIdleConnections()
	return nil
}
