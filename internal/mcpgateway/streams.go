package mcpgateway

import (
	"bytes"
	"io"
	"maps"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

const (
	defaultKeepAlive = 20 * time.Second
	primerAfter      = time.Second
	// stallAfter is how long a client may take to read what is sent to it. Its
	// connection is cut then, so that nothing waits for it.
	stallAfter = 30 * time.Second
	// maxStreams bounds the streams that one person has open on an edge: GET
	// streams of sessions, HTTP+SSE connections and subscriptions/listen.
	maxStreams = 32
)

// answer is a response that the SDK writes. When it is a stream of server-sent
// events on which nothing is said for a while, a comment is written, so that no
// proxy cuts it and a client that is gone is noticed. Clients skip comments
// (HTML Living Standard, section 9.2.6).
//
// The SDK writes from several goroutines, each event with one Write.
type answer struct {
	w     http.ResponseWriter
	every time.Duration
	// named hears the id of the first event that has one.
	named func(event string)

	mu     sync.Mutex
	primer []byte      // held back; see hold
	header http.Header // the SDK's own copy, once its handler runs; see began
	wrote  bool        // the headers are out
	stream bool
	ended  bool
	timer  *time.Timer
}

func newAnswer(w http.ResponseWriter, every time.Duration) *answer {
	return &answer{w: w, every: every}
}

// Header is the response's until the request's handler runs. From then on the
// comments' timer may send the headers, so that the SDK changes a copy.
func (a *answer) Header() http.Header {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.header != nil {
		return a.header
	}
	return a.w.Header()
}

// began is called when the request's handler runs: the SDK has chosen the form
// of its answer by then, and may not write for a long time.
func (a *answer) began() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.header != nil || a.wrote || a.ended {
		return
	}
	defer a.wait()
	a.header = a.w.Header().Clone()
	if a.header == nil {
		a.header = http.Header{}
	}
	a.stream = isEventStream(a.header)
}

// open sends a stream's headers, with a comment: some proxies hold headers back
// until something follows.
func (a *answer) open() {
	a.began()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.wrote {
		a.say(": ok\n\n")
	}
}

// sendHeaders brings what the SDK set to the response.
func (a *answer) sendHeaders() {
	if a.wrote {
		return
	}
	a.wrote = true
	if a.header != nil {
		h := a.w.Header()
		clear(h)
		maps.Copy(h, a.header)
	}
	a.stream = isEventStream(a.w.Header())
}

func isEventStream(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == "text/event-stream"
}

func (a *answer) WriteHeader(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	a.sendHeaders()
	a.stream = a.stream && status == http.StatusOK
	a.w.WriteHeader(status)
	a.wait()
}

func (a *answer) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return 0, io.ErrClosedPipe
	}
	if a.hold(b) {
		return len(b), nil
	}
	a.sendHeaders()
	if a.stream {
		a.name(b)
		a.bound()
	}
	if err := a.sendPrimer(); err != nil {
		return 0, err
	}
	n, err := a.w.Write(b)
	a.wait()
	return n, err
}

// hold keeps the event with which the SDK opens a stream back for a moment: with
// it the headers would be out before it is known whether the answer is a 403
// that asks for a scope.
func (a *answer) hold(b []byte) bool {
	if a.wrote || a.primer != nil || !bytes.HasPrefix(b, []byte("event: prime\n")) {
		return false
	}
	a.stream = true
	a.primer = bytes.Clone(b)
	a.name(b)
	a.timer = time.AfterFunc(min(primerAfter, a.every), func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if !a.ended && a.primer != nil {
			a.sendHeaders()
			a.bound()
			if a.sendPrimer() == nil && a.flush() == nil {
				a.timer = nil // the comments' from here on
				a.wait()
			}
		}
	})
	return true
}

func (a *answer) sendPrimer() (err error) {
	if a.primer != nil {
		if a.stream {
			_, err = a.w.Write(a.primer)
		}
		a.primer = nil
		if a.timer != nil {
			a.timer.Stop()
			a.timer = nil
		}
	}
	return err
}

// FlushError is what http.ResponseController calls.
func (a *answer) FlushError() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return io.ErrClosedPipe
	}
	if a.primer != nil {
		return nil
	}
	a.sendHeaders()
	return a.flush()
}

func (a *answer) flush() error {
	if a.stream {
		a.bound()
	}
	return http.NewResponseController(a.w).Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.w }

// bound gives the client some time to read. Not every writer can.
func (a *answer) bound() {
	_ = http.NewResponseController(a.w).SetWriteDeadline(time.Now().Add(stallAfter))
}

// name tells the id of the stream's first event.
func (a *answer) name(event []byte) {
	if a.named == nil {
		return
	}
	for line := range strings.Lines(string(event[:min(len(event), 200)])) {
		if id, ok := strings.CutPrefix(line, "id: "); ok {
			named := a.named
			a.named = nil
			named(strings.TrimSpace(id))
			return
		}
	}
}

// wait has a comment written when nothing else is for a while.
func (a *answer) wait() {
	switch {
	case !a.stream || a.ended || a.primer != nil:
	case a.timer == nil:
		a.timer = time.AfterFunc(a.every, a.comment)
	default:
		a.timer.Reset(a.every)
	}
}

func (a *answer) comment() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.say(": keep-alive\n\n")
}

func (a *answer) say(comment string) {
	if a.ended || !a.stream || a.primer != nil {
		return
	}
	a.sendHeaders()
	a.bound()
	// An error ends the request's context: net/http sees to it.
	if _, err := io.WriteString(a.w, comment); err == nil && a.flush() == nil {
		a.wait()
	}
}

// end is called when the request is over: nothing is written after it.
func (a *answer) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// cut ends a write that waits for the client to read.
func (a *answer) cut() {
	_ = http.NewResponseController(a.w).SetWriteDeadline(time.Now())
}

// personKey is a person at a tenant.
type personKey struct {
	tenant tenants.ID
	user   tenants.UserID
}

func (ex *exchange) person() personKey { return personKey{ex.tenant.ID, ex.principal.User} }

// counts bounds what each person may have of something.
type counts struct {
	mu  sync.Mutex
	max int
	of  map[personKey]int
}

// take counts one more until release is called once.
func (c *counts) take(p personKey) (release func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of[p] >= c.max {
		return nil, false
	}
	if c.of == nil {
		c.of = map[personKey]int{}
	}
	c.of[p]++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.of[p]--; c.of[p] == 0 {
			delete(c.of, p)
		}
	}), true
}

func tooManyStreams() error {
	return fault.New(fault.LimitReached, "You have %d streams open here, which is as many as one person may have. Close some, or end apps that you do not use.", maxStreams).After(30 * time.Second)
}
