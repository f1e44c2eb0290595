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
	"latchkey/internal/runtime"
)

// Frames are one byte of kind and a few fixed fields, then JSON where there is
// any: NATS headers would cost more than the rest of a small call.

var errFrame = errors.New("malformed frame")

// request is what a worker gets on call.<pool>.
//
//	version(1) flags(1) accept-by in unix ms(8) call as JSON
const (
	wireVersion    = 1
	requestHeader  = 10
	flagRepeatable = 1 // read-only or idempotent
)

func encodeRequest(c *runtime.Call, repeatable bool) ([]byte, error) {
	body, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode call: %w", err)
	}
	if len(body) > maxCallSize {
		return nil, fault.New(fault.InvalidArguments, "The arguments are too large: a call may have 1 MB. Send less at a time.")
	}
	b := make([]byte, requestHeader, requestHeader+len(body))
	b[0] = wireVersion
	if repeatable {
		b[1] = flagRepeatable
	}
	return append(b, body...), nil
}

func setAcceptBy(req []byte, t time.Time) {
	binary.BigEndian.PutUint64(req[2:], uint64(t.UnixMilli()))
}

type request struct {
	repeatable bool
	acceptBy   time.Time
	call       runtime.Call
}

func decodeRequest(b []byte) (request, error) {
	var r request
	if len(b) < requestHeader || len(b) > requestHeader+maxCallSize {
		return r, errFrame
	}
	if b[0] != wireVersion {
		return r, fmt.Errorf("%w: version %d", errFrame, b[0])
	}
	r.repeatable = b[1]&flagRepeatable != 0
	ms := binary.BigEndian.Uint64(b[2:])
	if ms > math.MaxInt64/2 {
		return r, errFrame
	}
	r.acceptBy = time.UnixMilli(int64(ms))
	if err := json.Unmarshal(b[requestHeader:], &r.call); err != nil {
		return r, fmt.Errorf("%w: %w", errFrame, err)
	}
	return r, nil
}

// replyAddress is where a worker answers a call.
type replyAddress struct {
	edge  string // with inboxPrefix
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

func (a replyAddress) subject() string { return a.edge + "." + a.token }

// kind is the first byte of a frame to an edge.
type kind byte

const (
	kindAccept   kind = 'a' // instance
	kindRefuse   kind = 'b' // reason(1) instance
	kindProgress kind = 'p' // done(8) total(8) message
	kindChunk    kind = 'c' // number(4) len(1) instance data
	kindResult   kind = 'r' // chunks before(4) len(1) instance data
	kindError    kind = 'e' // len(1) instance JSON
	kindLapsed   kind = 'l' // from the edge to itself: what the server had before this is here
	kindBeat     kind = 'h' // len(1) instance tokens; to the token "beat"

	// These never come over the wire.
	kindNoResponders kind = 0
	kindLost         kind = 1
	kindUnreachable  kind = 2
)

// frame is a decoded frame to an edge. data aliases what was decoded.
type frame struct {
	kind        kind
	reason      runtime.Reason
	number      uint32
	instance    string
	done, total float64
	data        []byte
}

func encodeAccept(instance string) []byte { return append([]byte{byte(kindAccept)}, instance...) }

func encodeRefuse(reason runtime.Reason, instance string) []byte {
	return append([]byte{byte(kindRefuse), byte(reason)}, instance...)
}

func encodeProgress(done, total float64, message string) []byte {
	b := make([]byte, 1, 17+len(message))
	b[0] = byte(kindProgress)
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(done))
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(total))
	return append(b, clip(message, maxProgress)...)
}

// A chunk names its worker because it may come before the acceptance, and the
// edge must know where to send credit.
func encodeChunk(number uint32, instance string, data []byte) []byte {
	return encodePart(kindChunk, number, instance, data)
}

func encodeResult(chunks uint32, instance string, data []byte) []byte {
	return encodePart(kindResult, chunks, instance, data)
}

func encodePart(k kind, number uint32, instance string, data []byte) []byte {
	b := append(make([]byte, 0, 6+len(instance)+len(data)), byte(k))
	b = binary.BigEndian.AppendUint32(b, number)
	b = append(append(b, byte(len(instance))), instance...)
	return append(b, data...)
}

func encodeError(instance string, f *fault.Error) []byte {
	b := append([]byte{byte(kindError), byte(len(instance))}, instance...)
	return append(b, encodeFault(f)...)
}

// decodeFrame reads a frame from a worker, which is not believed to be sound.
func decodeFrame(b []byte) (f frame, err error) {
	if len(b) == 0 {
		return f, errFrame
	}
	f.kind = kind(b[0])
	b = b[1:]
	switch f.kind {
	case kindAccept:
		f.instance = string(b[:min(len(b), maxInstance+1)])
	case kindRefuse:
		if len(b) == 0 {
			return f, errFrame
		}
		f.reason = runtime.Reason(b[0])
		f.instance = string(b[1:min(len(b), maxInstance+2)])
	case kindProgress:
		if len(b) < 16 || len(b) > 16+maxProgress {
			return f, errFrame
		}
		f.done = math.Float64frombits(binary.BigEndian.Uint64(b))
		f.total = math.Float64frombits(binary.BigEndian.Uint64(b[8:]))
		if !finite(f.done) || !finite(f.total) || !utf8.Valid(b[16:]) {
			return f, errFrame
		}
		f.data = b[16:]
		return f, nil
	case kindChunk, kindResult:
		if len(b) < 4 {
			return f, errFrame
		}
		f.number = binary.BigEndian.Uint32(b)
		if f.instance, f.data, err = cutInstance(b[4:]); err != nil {
			return f, err
		}
		if len(f.data) > chunkSize {
			return f, errFrame
		}
	case kindError, kindBeat:
		if f.instance, f.data, err = cutInstance(b); err != nil {
			return f, err
		}
		if f.kind == kindBeat && len(f.data)%tokenLen != 0 {
			return f, errFrame
		}
	case kindLapsed:
		if len(b) != 0 {
			return f, errFrame
		}
		return f, nil
	default:
		return f, errFrame
	}
	if !validToken(f.instance) {
		return f, errFrame
	}
	return f, nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

func cutInstance(b []byte) (string, []byte, error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return "", nil, errFrame
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], nil
}

// Control frames go from an edge to a worker: kind(1) token.
const (
	controlCancel byte = 'x'
	controlCredit byte = 'k'
)

func encodeControl(what byte, token string) []byte { return append([]byte{what}, token...) }

func decodeControl(b []byte) (what byte, token string, err error) {
	if len(b) != 1+tokenLen || b[0] != controlCancel && b[0] != controlCredit {
		return 0, "", errFrame
	}
	return b[0], string(b[1:]), nil
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
