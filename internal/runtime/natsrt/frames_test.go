package natsrt

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

const testToken = "abcdefghijklmnop"

func TestFramesComeThrough(t *testing.T) {
	for _, c := range []struct {
		name string
		raw  []byte
		want frame
	}{
		{"accept", encodeAccept(testToken, "w1-abc"), frame{kind: kindAccept, instance: "w1-abc"}},
		{"refuse", encodeRefuse(testToken, "w1-abc", runtime.Draining), frame{kind: kindRefuse, reason: runtime.Draining, instance: "w1-abc"}},
		{"progress", encodeProgress(testToken, "w1-abc", 1, 3, "one"), frame{kind: kindProgress, instance: "w1-abc", done: 1, total: 3, data: []byte("one")}},
		{"chunk", encodePart(kindChunk, testToken, "w1-abc", 7, []byte("data")), frame{kind: kindChunk, number: 7, instance: "w1-abc", data: []byte("data")}},
		{"result", encodePart(kindResult, testToken, "w1-abc", 8, []byte("{}")), frame{kind: kindResult, number: 8, instance: "w1-abc", data: []byte("{}")}},
		{"notification", encodeNotify(testToken, "w1-abc", []byte(`{"method":"a"}`)), frame{kind: kindNotify, instance: "w1-abc", data: []byte(`{"method":"a"}`)}},
		{"question", encodePart(kindAsk, testToken, "w1-abc", 3, []byte(`{"method":"a"}`)), frame{kind: kindAsk, number: 3, instance: "w1-abc", data: []byte(`{"method":"a"}`)}},
		{"question taken back", encodeUnask(testToken, "w1-abc", 3), frame{kind: kindUnask, number: 3, instance: "w1-abc"}},
		{"lapsed", encodeLapsed(testToken), frame{kind: kindLapsed}},
	} {
		got, token, err := decodeFrame(c.raw)
		if err != nil || got.kind != c.want.kind || got.reason != c.want.reason || got.number != c.want.number || got.instance != c.want.instance ||
			got.done != c.want.done || got.total != c.want.total || !bytes.Equal(got.data, c.want.data) || string(token) != testToken {
			t.Errorf("%s: %+v, %s, %v", c.name, got, token, err)
		}
	}
}

func TestUnsoundFramesRefused(t *testing.T) {
	long := strings.Repeat("x", maxInstance+1)
	for name, raw := range map[string][]byte{
		"empty":               {},
		"no head":             []byte("a" + testToken),
		"head cut short":      []byte("a" + testToken + "\x09w1"),
		"unknown kind":        head('z', testToken, "w1", 0),
		"local kind":          head(kindLost, testToken, "w1", 0),
		"nobody":              encodeAccept(testToken, ""),
		"long instance":       encodeAccept(testToken, long),
		"instance with dot":   encodeAccept(testToken, "w.1"),
		"instance with star":  encodeAccept(testToken, "*"),
		"instance with space": encodeAccept(testToken, "a b"),
		"accept and more":     append(encodeAccept(testToken, "w1"), 'x'),
		"refusal of nothing":  head(kindRefuse, testToken, "w1", 0),
		"short progress":      append(head(kindProgress, testToken, "w1", 0), "1234567"...),
		"progress NaN":        encodeProgress(testToken, "w1", math.NaN(), 1, ""),
		"progress infinite":   encodeProgress(testToken, "w1", 1, math.Inf(1), ""),
		"progress not UTF-8":  encodeProgress(testToken, "w1", 1, 1, "\xff"),
		"short chunk":         append(head(kindChunk, testToken, "w1", 0), "12"...),
		"large chunk":         encodePart(kindChunk, testToken, "w1", 0, make([]byte, chunkSize+1)),
		"large last chunk":    encodePart(kindResult, testToken, "w1", 0, make([]byte, chunkSize+1)),
		"large notification":  encodeNotify(testToken, "w1", make([]byte, maxNotify+1)),
		"short question":      append(head(kindAsk, testToken, "w1", 0), "12"...),
		"large question":      encodePart(kindAsk, testToken, "w1", 1, make([]byte, maxAsk+1)),
		"half a number":       append(head(kindUnask, testToken, "w1", 0), "12"...),
		"ragged heartbeat":    append(head(kindBeat, noToken, "w1", 0), "abc"...),
	} {
		if f, _, err := decodeFrame(raw); !errors.Is(err, errFrame) {
			t.Errorf("%s: taken as %+v, %v", name, f, err)
		}
	}
}

func TestReplyAddressIsOnlyAnInbox(t *testing.T) {
	token := newToken()
	if a, err := parseReply("_R.edge." + token); err != nil || a.edge != "_R.edge" || a.token != token {
		t.Errorf("%+v, %v", a, err)
	}
	for _, s := range []string{"", "call.default", "_R.edge", "_R.." + token, "_R.edge.short", "_R.edge." + token + ".x", "_R.>." + token, "_R.edge.*" + token[1:], "_INBOX.edge." + token} {
		if a, err := parseReply(s); err == nil {
			t.Errorf("%q taken as %+v", s, a)
		}
	}
}

func TestRequestComesThrough(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_123)
	c := runtime.Call{
		ID: "c1", Tenant: "tn", Server: "sv", Revision: "rv", OpenHash: "h", Op: runtime.CallTool, Name: "näme", Access: registry.ReadAccess,
		Caller:         runtime.Caller{User: "us", Email: "a@b", Name: "A B", Client: "cl", Roles: []string{"r1", "", "r3"}},
		IdempotencyKey: "k", Traceparent: "t", Grant: "g", Rule: "resource:r", Input: []byte(`{"a":1}`), Deadline: at,
	}
	raw, err := encodeRequest(&c, flagRepeatable|flagAsk)
	if err != nil {
		t.Fatal(err)
	}
	setAcceptBy(raw, at)
	r, err := decodeRequest(raw)
	if err != nil || !r.has(flagRepeatable) || !r.has(flagAsk) || r.has(flagNotify) || !r.acceptBy.Equal(at) || !reflect.DeepEqual(r.call, c) {
		t.Errorf("%+v, %v", r, err)
	}
	for n := range raw { // the input is the last part, and no prefix of it is JSON
		if _, err := decodeRequest(raw[:n]); err == nil && n != len(raw)-len(c.Input) {
			t.Errorf("the first %d bytes were taken", n)
		}
	}
	if _, err := encodeRequest(&runtime.Call{Input: []byte(`"` + strings.Repeat("x", maxCallSize) + `"`)}, 0); !fault.HasCode(err, fault.InvalidArguments) {
		t.Errorf("too large a call: %v", err)
	}
}

func TestFaultIsBounded(t *testing.T) {
	f := fault.New(fault.InvalidArguments, "%s", strings.Repeat("ü", maxErrorText)).After(time.Hour).Because(errors.New("canary"))
	for range 3 * maxDetails {
		f = f.WithDetails(fault.Detail{Pointer: strings.Repeat("\x01", 4096), Reason: "r", Fix: "f"})
	}
	raw := encodeFault(f)
	got, err := decodeFault(raw)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Message) > maxErrorText || len(got.Details) != maxDetails || got.RetryAfter != time.Hour || got.Code != fault.InvalidArguments || bytes.Contains(raw, []byte("canary")) {
		t.Errorf("decoded to %d bytes, %d details, %v", len(got.Message), len(got.Details), got.RetryAfter)
	}
	if _, err := decodeFault(encodeFault(&fault.Error{Code: fault.Busy})); err == nil {
		t.Error("an error without words was taken")
	}
	if got, err := decodeFault([]byte(`{"code":"made_up","message":"m","retry_after_ms":9223372036854775807}`)); err != nil || got.Code != fault.Unexpected || got.RetryAfter != 24*time.Hour {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzDecodeFrame(f *testing.F) {
	for _, raw := range [][]byte{
		encodeAccept(testToken, "w1"), encodeRefuse(testToken, "w1", runtime.Full), encodeProgress(testToken, "w1", 1, 2, "m"),
		encodePart(kindChunk, testToken, "w1", 1, []byte("x")), encodePart(kindResult, testToken, "w1", 1, []byte("{}")),
		encodeError(testToken, "w1", fault.New(fault.Busy, "m")), append(head(kindBeat, noToken, "w1", 0), testToken...), encodeLapsed(testToken),
		encodeNotify(testToken, "w1", []byte(`{"method":"notifications/message","params":{}}`)), encodePart(kindAsk, testToken, "w1", 1, []byte(`{"method":"roots/list"}`)), encodeUnask(testToken, "w1", 1),
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, token, err := decodeFrame(raw)
		if err != nil {
			return
		}
		if len(token) != tokenLen {
			t.Fatalf("token %q", token)
		}
		if got.kind <= kindUnreachable {
			t.Fatalf("a frame of the edge's own kind came over the wire: %+v", got)
		}
		if got.instance != "" && !validToken(got.instance) {
			t.Fatalf("instance %q would stand in a subject", got.instance)
		}
		switch got.kind {
		case kindProgress:
			if !utf8.Valid(got.data) || len(got.data) > maxProgress || !finite(got.done+0) {
				t.Fatalf("progress %+v", got)
			}
		case kindChunk, kindResult:
			if len(got.data) > chunkSize {
				t.Fatalf("%d bytes", len(got.data))
			}
		case kindNotify, kindAsk:
			if m, err := decodeMessage(got.data); err == nil && (m.Method == "" || len(m.Method) > maxMethod || len(m.Params) > maxAsk) {
				t.Fatalf("message %+v", m)
			}
		case kindError:
			if e, err := decodeFault(got.data); err == nil && (len(e.Message) > maxErrorText || e.RetryAfter < 0 || e.Unwrap() != nil) {
				t.Fatalf("error %+v", e)
			}
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	raw, err := encodeRequest(&runtime.Call{ID: "c1", Input: []byte(`{}`)}, flagRepeatable)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, "_R.edge."+newToken())
	f.Fuzz(func(t *testing.T, raw []byte, reply string) {
		if r, err := decodeRequest(raw); err == nil {
			again, err := encodeRequest(&r.call, r.flags)
			if err != nil {
				return // lengths may be written longer than they need be
			}
			setAcceptBy(again, r.acceptBy)
			if back, err := decodeRequest(again); err != nil || !reflect.DeepEqual(back, r) {
				t.Fatalf("%+v comes back as %+v, %v", r, back, err)
			}
		}
		if a, err := parseReply(reply); err == nil && a.edge+"."+a.token != reply {
			t.Fatalf("%q answers to %q", reply, a.edge+"."+a.token)
		}
	})
}

func TestAnswersComeThroughOrSayWhyNot(t *testing.T) {
	for name, c := range map[string]struct {
		raw     []byte
		what    byte
		answer  string
		refusal fault.Code
	}{
		"cancel":           {encodeControl(controlCancel, testToken), controlCancel, "", fault.Code{}},
		"credit":           {encodeControl(controlCredit, testToken), controlCredit, "", fault.Code{}},
		"answer":           {encodeAnswer(testToken, 7, []byte(`{"action":"accept"}`), nil), controlAnswer, `{"action":"accept"}`, fault.Code{}},
		"refusal":          {encodeAnswer(testToken, 7, nil, fault.New(fault.Unanswerable, "no").Because(errors.New("canary"))), controlRefuse, "", fault.Unanswerable},
		"too large":        {encodeAnswer(testToken, 7, []byte(`"`+strings.Repeat("x", runtime.MaxAnswer)+`"`), nil), controlRefuse, "", fault.Unanswerable},
		"no JSON":          {encodeAnswer(testToken, 7, []byte(`{`), nil), controlRefuse, "", fault.Unanswerable},
		"nothing":          {encodeAnswer(testToken, 7, nil, nil), controlRefuse, "", fault.Unanswerable},
		"a refusal's most": {encodeAnswer(testToken, 7, nil, fault.New(fault.Busy, "%s", strings.Repeat("\x01", 2*maxErrorText))), controlRefuse, "", fault.Busy},
	} {
		got, err := decodeControl(c.raw)
		if err != nil || got.what != c.what || got.token != testToken || string(got.answer) != c.answer || (got.refusal == nil) != (c.refusal == fault.Code{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
			continue
		}
		if got.refusal != nil && (got.refusal.Code != c.refusal || got.refusal.Unwrap() != nil) {
			t.Errorf("%s: %+v", name, got.refusal)
		}
		if (c.what == controlAnswer || c.what == controlRefuse) && got.number != 7 {
			t.Errorf("%s answers question %d", name, got.number)
		}
	}
	for name, raw := range map[string][]byte{
		"empty": nil, "no token": []byte("xabc"), "unknown": []byte("z" + testToken), "cancel and more": []byte("x" + testToken + "1234{}"),
		"answer without number": []byte("q" + testToken + "12"), "answer of no JSON": []byte("q" + testToken + "\x00\x00\x00\x01{"), "refusal of nothing": []byte("e" + testToken + "\x00\x00\x00\x01{}"),
		"large answer": append([]byte("q"+testToken+"\x00\x00\x00\x01"), `"`+strings.Repeat("x", runtime.MaxAnswer)+`"`...),
	} {
		if got, err := decodeControl(raw); err == nil {
			t.Errorf("%s: taken as %+v", name, got)
		}
	}
}

// What an edge sends a worker is believed no more than the other way round.
func FuzzDecodeControl(f *testing.F) {
	f.Add(encodeControl(controlCancel, testToken))
	f.Add(encodeAnswer(testToken, 1, []byte(`{"action":"accept","content":{"a":1}}`), nil))
	f.Add(encodeAnswer(testToken, 1<<31, nil, fault.New(fault.Unanswerable, "m")))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := decodeControl(raw)
		if err != nil {
			return
		}
		if len(c.token) != tokenLen || len(c.answer) > runtime.MaxAnswer || c.refusal != nil && c.refusal.Unwrap() != nil {
			t.Fatalf("%+v", c)
		}
		switch c.what {
		case controlAnswer:
			if again, err := decodeControl(encodeAnswer(c.token, c.number, c.answer, nil)); err != nil || !reflect.DeepEqual(again, c) {
				t.Fatalf("%+v comes back as %+v, %v", c, again, err)
			}
		case controlRefuse:
			if c.refusal == nil || c.answer != nil {
				t.Fatalf("%+v", c)
			}
		case controlCancel, controlCredit:
			if len(raw) != 1+tokenLen {
				t.Fatalf("%q", raw)
			}
		default:
			t.Fatalf("%q", c.what)
		}
	})
}
