package mcptool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// metaCall marks a question of the upstream with the call that it belongs to,
// between a transport and the SDK's handler. What an upstream writes there is
// overwritten.
const metaCall = "latchkey/call"

// maxQuestions of one call may be open at once.
const maxQuestions = 16

// shedWait is how long an upstream is left alone that asks to be.
const shedWait = 250 * time.Millisecond

// listened is a transport on which the messages of all calls come one after
// another.
type listened struct {
	mcp.Transport
	session *Session
}

func (t *listened) Connect(ctx context.Context) (mcp.Connection, error) {
	c, err := t.Transport.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &connection{Connection: c, session: t.session, calls: map[jsonrpc.ID]*Running{}}, nil
}

type connection struct {
	mcp.Connection
	session *Session
	mu      sync.Mutex
	calls   map[jsonrpc.ID]*Running
}

// Write remembers whose a request is.
func (c *connection) Write(ctx context.Context, msg jsonrpc.Message) error {
	if req, ok := msg.(*jsonrpc.Request); ok && req.IsCall() {
		if r := RunningOf(ctx); r != nil {
			r.Sent()
			c.mu.Lock()
			c.calls[req.ID] = r
			c.mu.Unlock()
			context.AfterFunc(r.ctx, func() { c.forget(req.ID) })
		}
	}
	return c.Connection.Write(ctx, msg)
}

func (c *connection) forget(id jsonrpc.ID) *Running {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.calls[id]
	delete(c.calls, id)
	return r
}

// Read shows the session everything before the SDK sees it.
func (c *connection) Read(ctx context.Context) (jsonrpc.Message, error) {
	for {
		msg, err := c.Connection.Read(ctx)
		if err != nil {
			c.session.Break(err) // before the calls hear of it
			return nil, err
		}
		switch msg := msg.(type) {
		case *jsonrpc.Request:
			if !c.session.Received(nil, msg) {
				continue
			}
		case *jsonrpc.Response:
			if r := c.forget(msg.ID); r != nil {
				r.Answered(msg)
			}
		}
		return msg, nil
	}
}

// Received is told of every notification and question of the upstream before
// anybody else: with the call on whose stream it came, or nil where that is not
// known. Notifications go to whom they are for; questions are marked. It reports
// whether the SDK is to see the message.
func (s *Session) Received(r *Running, msg *jsonrpc.Request) (pass bool) {
	if msg.IsCall() {
		if isQuestion(msg.Method) && (msg.Method != "roots/list" || s.opts.Personal) {
			s.mark(r, msg)
		}
		return true
	}
	switch msg.Method {
	case "notifications/progress":
		s.progress(msg.Params)
	case "notifications/message", "notifications/elicitation/complete":
		if r == nil {
			r = s.only()
		}
		if r != nil && (msg.Method != "notifications/message" || r.wants(msg.Params)) {
			r.tell(func(e runtime.Env) { e.Notify(runtime.Notification{Method: msg.Method, Params: ownMeta(msg.Params)}) })
		}
	case "notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed":
		s.offer.outdated()
		s.watched(runtime.Notification{Method: msg.Method, Params: ownMeta(msg.Params)}, "")
	case "notifications/resources/updated":
		var p struct{ URI string }
		if json.Unmarshal(msg.Params, &p) == nil {
			s.watched(runtime.Notification{Method: msg.Method, Params: ownMeta(msg.Params)}, p.URI)
		}
	case "notifications/cancelled":
		return true
	}
	return false
}

// Answered is told of the answer to the call: the upstream's error, and what the
// SDK's types would lose some of, large numbers in structured content.
func (r *Running) Answered(res *jsonrpc.Response) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.raw, r.rpc = nil, nil
	if bytes.Contains(res.Result, []byte(`"structuredContent"`)) {
		r.raw = res.Result
	}
	errors.As(res.Error, &r.rpc)
}

func (s *Session) progress(params json.RawMessage) {
	var p struct {
		ProgressToken   any
		Progress, Total float64
		Message         string
	}
	if json.Unmarshal(params, &p) != nil {
		return
	}
	if token, ok := p.ProgressToken.(string); ok {
		if r := s.byID(token); r != nil {
			r.tell(func(e runtime.Env) { e.Progress(p.Progress, p.Total, clean(p.Message, maxWords)) })
		}
	}
}

// levels of logs, the most talkative first.
var levels = []string{"debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"}

var noLogs = len(levels)

func levelOf(name string) int {
	for i, l := range levels {
		if l == name {
			return i
		}
	}
	return noLogs
}

// wants reports whether the caller asked for a log line: an upstream of the old
// era sends all callers what one of them asked for.
func (r *Running) wants(params json.RawMessage) bool {
	var p struct{ Level string }
	level := levelOf(r.call.LogLevel)
	return level != noLogs && json.Unmarshal(params, &p) == nil && levelOf(p.Level) >= level
}

// ownMeta leaves out of a message's _meta what is the transport's or ours.
func ownMeta(params json.RawMessage) json.RawMessage {
	if !bytes.Contains(params, []byte(`"_meta"`)) {
		return params
	}
	var all map[string]json.RawMessage
	var meta map[string]any
	if json.Unmarshal(params, &all) != nil || json.Unmarshal(all["_meta"], &meta) != nil {
		return params
	}
	delete(all, "_meta")
	if meta = foreign(meta); len(meta) > 0 {
		raw, err := json.Marshal(meta)
		if err != nil {
			return params
		}
		all["_meta"] = raw
	}
	raw, err := json.Marshal(all)
	if err != nil {
		return params
	}
	return raw
}

// foreign is the part of a _meta that is passed on: not the transport's keys,
// and nothing in our name.
func foreign(meta map[string]any) map[string]any {
	for k := range meta {
		if strings.HasPrefix(k, "io.modelcontextprotocol/") || strings.HasPrefix(k, "latchkey/") || k == "progressToken" {
			delete(meta, k)
		}
	}
	if len(meta) == 0 {
		return nil
	}
	return meta
}

func isQuestion(method string) bool {
	return method == "elicitation/create" || method == "sampling/createMessage" || method == "roots/list"
}

// question is one that an upstream of the old era asked: what it said, in its
// own words, waits here while the SDK delivers it.
type question struct {
	of     *Running
	params json.RawMessage
}

// mark writes into a question whose it is.
func (s *Session) mark(r *Running, msg *jsonrpc.Request) {
	if r == nil {
		r = s.only()
	}
	var all map[string]json.RawMessage
	if len(msg.Params) > 0 && json.Unmarshal(msg.Params, &all) != nil {
		return // the SDK refuses it
	}
	if all == nil {
		all = map[string]json.RawMessage{}
	}
	mark := ""
	if r != nil {
		mark = r.keep(ownMeta(msg.Params))
	}
	meta, err := json.Marshal(map[string]string{metaCall: mark})
	if err != nil {
		return
	}
	all["_meta"] = meta
	if raw, err := json.Marshal(all); err == nil {
		msg.Params = raw
	}
}

// keep keeps a question until the SDK delivers it, and gives its mark. Too many
// are none's.
func (r *Running) keep(params json.RawMessage) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || r.open >= maxQuestions {
		return ""
	}
	if r.asked == nil {
		r.asked = map[string]*question{}
	}
	r.open++
	n := len(r.asked)
	for r.asked[strconv.Itoa(n)] != nil {
		n++
	}
	r.asked[strconv.Itoa(n)] = &question{r, params}
	return r.id + "/" + strconv.Itoa(n)
}

// take is the question of a mark; only one gets it.
func (s *Session) take(mark string) *question {
	id, n, _ := strings.Cut(mark, "/")
	r := s.byID(id)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.asked[n]
	delete(r.asked, n)
	return q
}

// receive answers the upstream's questions. Notifications never come here.
func (s *Session) receive(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		if !isQuestion(method) {
			return next(ctx, method, req)
		}
		if method == "roots/list" && !s.opts.Personal {
			return &mcp.ListRootsResult{Roots: []*mcp.Root{}}, nil
		}
		mark, _ := req.GetParams().GetMeta()[metaCall].(string)
		q := s.take(mark)
		if q == nil {
			return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidRequest, Message: "it cannot be told which call this is asked for"}
		}
		defer q.of.set(func() { q.of.open-- })
		return q.of.answerOne(ctx, method, q.params)
	}
}

// answerOne puts a question of the old era to the caller. It ends with the call,
// or when the upstream takes it back.
func (r *Running) answerOne(ctx context.Context, method string, params json.RawMessage) (mcp.Result, error) {
	asking, cancel := context.WithCancel(r.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	raw, err := r.env.Ask(asking, runtime.Question{Method: method, Params: params})
	if err != nil {
		if f := fault.Of(err); f.Code == fault.Unanswerable {
			r.set(func() { r.unasked = f })
		}
		return nil, refusal(err)
	}
	var res mcp.Result
	switch method {
	case "elicitation/create":
		res = &mcp.ElicitResult{}
	case "sampling/createMessage":
		res = &mcp.CreateMessageWithToolsResult{}
	default:
		res = &mcp.ListRootsResult{}
	}
	if err := json.Unmarshal(raw, res); err != nil {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInternalError, Message: "the client's answer cannot be read"}
	}
	return res, nil
}

// refusal tells an upstream that there is no answer: only what we say to callers.
func refusal(err error) error {
	code := int64(jsonrpc.CodeInternalError)
	if fault.HasCode(err, fault.Unanswerable) {
		code = jsonrpc.CodeMethodNotFound
	}
	return &jsonrpc.Error{Code: code, Message: fault.Of(err).Message}
}

// answer puts the questions of an input-required result to the caller, all at
// once: an answer for each, or an error.
func (r *Running) answer(ctx context.Context, asked mcp.InputRequestMap) (mcp.InputResponseMap, error) {
	if len(asked) > maxQuestions {
		return nil, fault.New(fault.ToolFailed, "The server asked for %d things at once, more than the %d that are allowed.", len(asked), maxQuestions)
	}
	if len(asked) == 0 { // it has too much to do just now, and says: later
		select {
		case <-time.After(shedWait):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	raw, err := json.Marshal(asked)
	if err != nil {
		return nil, err
	}
	var questions map[string]runtime.Question
	if err := json.Unmarshal(raw, &questions); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]json.RawMessage{}
	for id, q := range questions {
		all.Go(func() {
			a, err := r.env.Ask(ctx, q.Named(id, len(questions)))
			if err != nil {
				cancel(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			answers[id] = a
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	if raw, err = json.Marshal(answers); err != nil {
		return nil, err
	}
	var out mcp.InputResponseMap
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, fmt.Errorf("the client's answer: %w", err)
	}
	return out, nil
}

// errManyRounds: an upstream that goes on asking.
var errManyRounds = errors.New("mcptool: too many rounds")
