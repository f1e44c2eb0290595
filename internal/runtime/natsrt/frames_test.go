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
	raw, err := encodeRequest(&c, true)
	if err != nil {
		t.Fatal(err)
	}
	setAcceptBy(raw, at)
	r, err := decodeRequest(raw)
	if err != nil || !r.repeatable || !r.acceptBy.Equal(at) || !reflect.DeepEqual(r.call, c) {
		t.Errorf("%+v, %v", r, err)
	}
	for n := range raw { // the input is the last part, and no prefix of it is JSON
		if _, err := decodeRequest(raw[:n]); err == nil && n != len(raw)-len(c.Input) {
			t.Errorf("the first %d bytes were taken", n)
		}
	}
	if _, err := encodeRequest(&runtime.Call{Input: []byte(`"` + strings.Repeat("x", maxCallSize) + `"`)}, true); !fault.HasCode(err, fault.InvalidArguments) {
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
		case kindError:
			if e, err := decodeFault(got.data); err == nil && (len(e.Message) > maxErrorText || e.RetryAfter < 0 || e.Unwrap() != nil) {
				t.Fatalf("error %+v", e)
			}
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	raw, err := encodeRequest(&runtime.Call{ID: "c1", Input: []byte(`{}`)}, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, "_R.edge."+newToken())
	f.Fuzz(func(t *testing.T, raw []byte, reply string) {
		if r, err := decodeRequest(raw); err == nil {
			again, err := encodeRequest(&r.call, r.repeatable)
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
		if _, token, err := decodeControl(raw); err == nil && len(token) != tokenLen {
			t.Fatalf("token %q", token)
		}
	})
}
