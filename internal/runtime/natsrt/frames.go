package natsrt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Frames are one byte of kind and a few fixed fields, then JSON where there is
// any: NATS headers would cost more than the rest of a small call.

var errFrame = errors.New("malformed frame")

// request is what a worker gets on call.<pool>. As JSON it took a third of what
// a small call costs a worker. A length (a uvarint) stands before each text.
//
//	version(1) flags(1) accept-by in unix ms(8)
//	the texts of encodeRequest, deadline in unix µs(varint), number of roles(uvarint) roles
//	input as JSON, to the end
const (
	wireVersion    = 5
	requestHeader  = 10
	flagRepeatable = 1 // read-only or idempotent
	flagNotify     = 2 // the edge takes notifications
	flagAsk        = 4 // the edge takes questions
	maxRoles       = 1000
)

func encodeRequest(c *runtime.Call, flags byte) ([]byte, error) {
	texts := [...]string{
		c.ID, string(c.Tenant), string(c.Server), string(c.Revision), c.OpenHash, string(c.Op), c.Name, string(c.Access),
		string(c.Caller.User), c.Caller.Email, c.Caller.Name, c.Caller.Client, c.IdempotencyKey, c.Traceparent, c.Grant.Reveal(), c.Rule, c.LogLevel, c.Asks,
	}
	if len(c.Caller.Roles) > maxRoles {
		return nil, fault.New(fault.InvalidRequest, "The caller has more than %d roles.", maxRoles)
	}
	size := requestHeader + len(c.Input) + 64
	for _, s := range texts {
		size += len(s) + 2
	}
	b := make([]byte, requestHeader, size)
	b[0], b[1] = wireVersion, flags
	for _, s := range texts {
		b = appendPart(b, s)
	}
	b = binary.AppendVarint(b, c.Deadline.UnixMicro())
	b = binary.AppendUvarint(b, uint64(len(c.Caller.Roles)))
	for _, r := range c.Caller.Roles {
		b = appendPart(b, r)
	}
	b = append(b, c.Input...)
	if len(b) > requestHeader+maxCallSize {
		return nil, fault.New(fault.InvalidArguments, "The arguments are too large: a call may have 1 MB. Send less at a time.")
	}
	return b, nil
}

func setAcceptBy(req []byte, t time.Time) {
	binary.BigEndian.PutUint64(req[2:], uint64(t.UnixMilli()))
}

type request struct {
	flags    byte
	acceptBy time.Time
	call     runtime.Call
}

func (r *request) has(flag byte) bool { return r.flags&flag != 0 }

func decodeRequest(b []byte) (request, error) {
	var r request
	if len(b) < requestHeader || len(b) > requestHeader+maxCallSize {
		return r, errFrame
	}
	if b[0] != wireVersion {
		return r, fmt.Errorf("%w: version %d", errFrame, b[0])
	}
	r.flags = b[1]
	ms := binary.BigEndian.Uint64(b[2:])
	if ms > math.MaxInt64/2 {
		return r, errFrame
	}
	r.acceptBy = time.UnixMilli(int64(ms))
	p := &parts{rest: b[requestHeader:]}
	r.call = runtime.Call{ // in the order of encodeRequest
		ID: p.text(), Tenant: tenants.ID(p.text()), Server: registry.ServerID(p.text()), Revision: registry.RevisionID(p.text()),
		OpenHash: p.text(), Op: runtime.Op(p.text()), Name: p.text(), Access: registry.Access(p.text()),
		Caller:         runtime.Caller{User: tenants.UserID(p.text()), Email: p.text(), Name: p.text(), Client: p.text()},
		IdempotencyKey: p.text(), Traceparent: p.text(), Grant: secret.Text(p.text()), Rule: p.text(), LogLevel: p.text(), Asks: p.text(), Deadline: time.UnixMicro(p.varint()),
	}
	n := p.uvarint()
	if p.bad || n > maxRoles {
		return r, errFrame
	}
	for range n {
		r.call.Caller.Roles = append(r.call.Caller.Roles, p.text())
	}
	if p.bad {
		return r, errFrame
	}
	if len(p.rest) > 0 {
		if r.call.Input = json.RawMessage(p.rest); !json.Valid(r.call.Input) {
			return r, errFrame
		}
	}
	return r, nil
}

// replyAddress is where a worker answers a call. It comes as the request's
// reply subject, edge and token with a dot between them, where the server
// also says that there is no worker.
type replyAddress struct {
	edge  string // with inboxPrefix: the subject of frames
	token string
}

func parseReply(subject string) (replyAddress, error) {
	rest, ok := strings.CutPrefix(subject, inboxPrefix)
	edge, token, found := strings.Cut(rest, ".")
	if !ok || !found || !validToken(edge) || len(token) != tokenLen || !validToken(token) {
		return replyAddress{}, errFrame
	}
	return replyAddress{edge: inboxPrefix + edge, token: token}, nil
}

// A frame to an edge goes to its inbox:
//
//	kind(1) token(16) len(1) instance body
//
// The token stands here and not in the subject: a new subject for each call
// would defeat the server's caches of permissions and routes.
type kind byte

const (
	kindAccept   kind = 'a'
	kindRefuse   kind = 'b' // reason(1)
	kindProgress kind = 'p' // done(8) total(8) message
	kindChunk    kind = 'c' // number(4) data
	kindResult   kind = 'r' // number of chunks before(4) data
	kindError    kind = 'e' // JSON
	kindBeat     kind = 'h' // the tokens of live calls; its own token is noToken
	kindNotify   kind = 'n' // JSON of a notification
	kindAsk      kind = 'q' // number(4) JSON of a question
	kindUnask    kind = 'u' // number(4): nobody waits for its answer any more
	kindLapsed   kind = 'l' // from the edge to itself: what the server had before this is here

	// These never come over the wire.
	kindNoResponders kind = 0
	kindLost         kind = 1
	kindUnreachable  kind = 2
	kindAside        kind = 3 // there is something in the attempt's aside
)

const (
	noToken   = "----------------"
	selfName  = "edge" // the instance in an edge's frame to itself
	frameHead = 1 + tokenLen + 1
)

// frame is a decoded frame. data aliases what was decoded.
type frame struct {
	kind        kind
	reason      runtime.Reason
	number      uint32
	instance    string
	done, total float64
	data        []byte
}

// head begins a frame with room for a body of n bytes.
func head(k kind, token, instance string, n int) []byte {
	b := make([]byte, 0, frameHead+len(instance)+n)
	b = append(append(b, byte(k)), token...)
	return append(append(b, byte(len(instance))), instance...)
}

func encodeAccept(token, instance string) []byte { return head(kindAccept, token, instance, 0) }

func encodeRefuse(token, instance string, reason runtime.Reason) []byte {
	return append(head(kindRefuse, token, instance, 1), byte(reason))
}

func encodeProgress(token, instance string, done, total float64, message string) []byte {
	message = clip(message, maxProgress)
	b := head(kindProgress, token, instance, 16+len(message))
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(done))
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(total))
	return append(b, message...)
}

// encodePart makes a chunk, or the result that ends them.
func encodePart(k kind, token, instance string, number uint32, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(head(k, token, instance, 4+len(data)), number)
	return append(b, data...)
}

// message is a notification or a question as it crosses the wire.
type message struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
}

const (
	maxMethod  = 128
	maxNotify  = runtime.MaxNotice + 256
	maxAsk     = runtime.MaxQuestion + 256
	maxControl = runtime.MaxAnswer + maxFault
)

// encodeMessage gives the JSON of a message, or nothing where it cannot be sent.
func encodeMessage(method string, params json.RawMessage, most int) ([]byte, bool) {
	if method == "" || len(method) > maxMethod || len(params) > 0 && !json.Valid(params) {
		return nil, false
	}
	b, err := json.Marshal(message{method, params})
	return b, err == nil && len(b) <= most
}

func decodeMessage(b []byte) (m message, err error) {
	if err := json.Unmarshal(b, &m); err != nil || m.Method == "" || len(m.Method) > maxMethod {
		return m, errFrame
	}
	return m, nil
}

func encodeNotify(token, instance string, body []byte) []byte {
	return append(head(kindNotify, token, instance, len(body)), body...)
}

func encodeUnask(token, instance string, number uint32) []byte {
	return binary.BigEndian.AppendUint32(head(kindUnask, token, instance, 4), number)
}

func encodeError(token, instance string, f *fault.Error) []byte {
	body := encodeFault(f)
	return append(head(kindError, token, instance, len(body)), body...)
}

func encodeLapsed(token string) []byte { return head(kindLapsed, token, selfName, 0) }

// decodeFrame reads a frame from a worker, which is not believed to be sound.
func decodeFrame(b []byte) (f frame, token []byte, err error) {
	if len(b) < frameHead || len(b) < frameHead+int(b[frameHead-1]) {
		return f, nil, errFrame
	}
	end := frameHead + int(b[frameHead-1])
	f.kind, token, f.instance = kind(b[0]), b[1:1+tokenLen], string(b[frameHead:end])
	if !validToken(f.instance) {
		return f, nil, errFrame
	}
	return f, token, f.decodeBody(b[end:])
}

func (f *frame) decodeBody(b []byte) error {
	switch f.kind {
	case kindAccept:
		return wrongIf(len(b) != 0)
	case kindLapsed:
		f.instance = ""
		return wrongIf(len(b) != 0)
	case kindRefuse:
		if len(b) != 1 {
			return errFrame
		}
		f.reason = runtime.Reason(b[0])
	case kindProgress:
		if len(b) < 16 || len(b) > 16+maxProgress {
			return errFrame
		}
		f.done = math.Float64frombits(binary.BigEndian.Uint64(b))
		f.total = math.Float64frombits(binary.BigEndian.Uint64(b[8:]))
		f.data = b[16:]
		return wrongIf(!finite(f.done) || !finite(f.total) || !utf8.Valid(f.data))
	case kindChunk, kindResult:
		if len(b) < 4 || len(b) > 4+chunkSize {
			return errFrame
		}
		f.number, f.data = binary.BigEndian.Uint32(b), b[4:]
	case kindNotify:
		f.data = b
		return wrongIf(len(b) > maxNotify)
	case kindAsk:
		if len(b) < 4 || len(b) > 4+maxAsk {
			return errFrame
		}
		f.number, f.data = binary.BigEndian.Uint32(b), b[4:]
	case kindUnask:
		if len(b) != 4 {
			return errFrame
		}
		f.number = binary.BigEndian.Uint32(b)
	case kindError:
		f.data = b
	case kindBeat:
		f.data = b
		return wrongIf(len(b)%tokenLen != 0)
	default:
		return errFrame
	}
	return nil
}

func wrongIf(wrong bool) error {
	if wrong {
		return errFrame
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// Control frames go from an edge to a worker: kind(1) token, and for an answer
// to a question its number(4), then JSON or the JSON of an error.
const (
	controlCancel byte = 'x'
	controlCredit byte = 'k'
	controlAnswer byte = 'q'
	controlRefuse byte = 'e'
)

func encodeControl(what byte, token string) []byte { return append([]byte{what}, token...) }

// encodeAnswer answers a question. Whatever the asker said, it fits.
func encodeAnswer(token string, number uint32, answer json.RawMessage, err error) []byte {
	what, body := controlAnswer, []byte(answer)
	switch {
	case err != nil:
		what, body = controlRefuse, encodeFault(fault.Of(err))
	case len(answer) > runtime.MaxAnswer || !json.Valid(answer):
		what, body = controlRefuse, encodeFault(fault.New(fault.Unanswerable, "The client answered the server's question with something that cannot be passed on: it has more than %d KB, or is no JSON.", runtime.MaxAnswer>>10))
	}
	b := make([]byte, 0, 1+tokenLen+4+len(body))
	b = append(append(b, what), token...)
	return append(binary.BigEndian.AppendUint32(b, number), body...)
}

// control is a decoded control frame. answer and refusal are of a question.
type control struct {
	what    byte
	token   string
	number  uint32
	answer  json.RawMessage
	refusal *fault.Error
}

func decodeControl(b []byte) (c control, err error) {
	if len(b) < 1+tokenLen || len(b) > 1+tokenLen+4+maxControl {
		return c, errFrame
	}
	c.what, c.token = b[0], string(b[1:1+tokenLen])
	switch rest := b[1+tokenLen:]; c.what {
	case controlCancel, controlCredit:
		return c, wrongIf(len(rest) != 0)
	case controlAnswer, controlRefuse:
		if len(rest) < 4 {
			return c, errFrame
		}
		c.number = binary.BigEndian.Uint32(rest)
		if c.what == controlRefuse {
			c.refusal, err = decodeFault(rest[4:])
			return c, err
		}
		c.answer = rest[4:]
		return c, wrongIf(len(c.answer) > runtime.MaxAnswer || !json.Valid(c.answer))
	}
	return c, errFrame
}

// wireFault is a fault.Error without its cause.
type wireFault struct {
	Code       string         `json:"code"`
	Message    string         `json:"message"`
	Details    []fault.Detail `json:"details,omitempty"`
	RetryAfter int64          `json:"retry_after_ms,omitempty"`
	Scope      string         `json:"scope,omitempty"`
}

func encodeFault(f *fault.Error) []byte {
	w := wireFault{Code: f.Code.Name, Message: clip(f.Message, maxErrorText), RetryAfter: f.RetryAfter.Milliseconds(), Scope: clip(f.Scope, 256)}
	for _, d := range f.Details[:min(len(f.Details), maxDetails)] {
		w.Details = append(w.Details, fault.Detail{Pointer: clip(d.Pointer, 512), Reason: clip(d.Reason, 1024), Fix: clip(d.Fix, 1024)})
	}
	b, err := json.Marshal(w)
	if err != nil { // strings and numbers only
		panic(err)
	}
	return b
}

// maxFault is what encodeFault can make at most, with every byte escaped.
const maxFault = 6*(maxErrorText+256+maxDetails*(512+1024+1024)) + 8<<10

func decodeFault(b []byte) (*fault.Error, error) {
	var w wireFault
	if len(b) > maxFault {
		return nil, errFrame
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	if len(w.Details) > maxDetails {
		return nil, errFrame
	}
	f := &fault.Error{
		Code: fault.ByName(w.Code), Message: clip(w.Message, maxErrorText), Details: w.Details, Scope: w.Scope,
		RetryAfter: min(max(time.Duration(w.RetryAfter), 0), maxRetryAfter) * time.Millisecond,
	}
	if f.Message == "" {
		return nil, errFrame
	}
	return f, nil
}

const maxRetryAfter = 24 * 60 * 60 * 1000 // ms

// clip cuts s to n bytes at the start of a rune.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
