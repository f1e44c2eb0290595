package idempotency_test

import (
	"bytes"
	"encoding/json"
	"math/big"
	"reflect"
	"testing"

	"github.com/gowebpki/jcs"

	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
)

func TestCanonicalArgumentsAreOne(t *testing.T) {
	for _, same := range [][]string{
		{`{"a":1,"b":"x"}`, `{"b":"x","a":1}`, ` { "b" : "x" ,` + "\n" + `"a":1.0}`, `{"a":1e0,"b":"\u0078"}`},
		{`{}`, ``, "  \n", ` { } `},
		{`{"n":0}`, `{"n":-0}`, `{"n":0.0}`, `{"n":-0e5}`},
		{`{"n":100}`, `{"n":1e2}`, `{"n":100.00}`},
		{`{"n":0.1}`, `{"n":1e-1}`, `{"n":0.10}`},
		{`{"d":{"y":[3,2,1],"x":null}}`, `{"d":{"x":null,"y":[3,2,1.0]}}`},
		{`{"é":1,"z":2}`, `{"z":2,"\u00e9":1}`},
		{`{"s":"/\n"}`, `{"s":"\/\u000a"}`},
	} {
		want := canonical(t, same[0])
		for _, other := range same[1:] {
			if got := canonical(t, other); got != want {
				t.Errorf("%s is %s, and %s is %s", same[0], want, other, got)
			}
		}
	}
}

// Two refunds of orders whose numbers a double cannot tell apart are two.
func TestCanonicalKeepsLongNumbersApart(t *testing.T) {
	for _, apart := range [][2]string{
		{`{"order":9007199254740992}`, `{"order":9007199254740993}`},
		{`{"order":9007199254740992.0}`, `{"order":9007199254740993.0}`},
		{`{"amount":12345678901234567.81}`, `{"amount":12345678901234567.82}`},
		{`{"n":1e400}`, `{"n":1e401}`},
		{`{"n":1.25e-324}`, `{"n":1.5e-324}`},
		{`{"n":[0.1,0.1000000000000000001]}`, `{"n":[0.1,0.1]}`},
		{`{"n":"1"}`, `{"n":1}`},
		{`{"a":[1,2]}`, `{"a":[2,1]}`},
		{`{"a":null}`, `{}`},
	} {
		if one, two := canonical(t, apart[0]), canonical(t, apart[1]); one == two {
			t.Errorf("%s and %s are both %s", apart[0], apart[1], one)
		}
	}
}

func TestCanonicalRefusesWhatReadersDifferOn(t *testing.T) {
	for _, bad := range []string{
		`{"a":1,"a":2}`, `{"a":{"b":1,"\u0062":2}}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", `{`, `{"a":01}`, `{"a":1}{"b":2}`, `nothing`, `{"a":NaN}`,
	} {
		got, err := idempotency.Canonical(json.RawMessage(bad))
		if !fault.HasCode(err, fault.InvalidArguments) {
			t.Errorf("%q: %s, %v", bad, got, err)
		}
	}
}

func TestCanonicalLeavesItsInputAlone(t *testing.T) {
	in := []byte(`{"b": 1, "a": 2}`)
	if got := canonical(t, string(in)); got != `{"a":2,"b":1}` {
		t.Error(got)
	}
	if _, err := idempotency.Canonical(in); err != nil || string(in) != `{"b": 1, "a": 2}` {
		t.Errorf("the input became %s, %v", in, err)
	}
}

func canonical(t *testing.T, in string) string {
	t.Helper()
	out, err := idempotency.Canonical(json.RawMessage(in))
	if err != nil {
		t.Fatalf("%s: %v", in, err)
	}
	return string(out)
}

func FuzzCanonicalArguments(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `{"b":1,"a":[1.5,-0,1e21,1E-7,"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/"]}`, `{"a":9007199254740993}`,
		`{"\ud83d\ude00":1,"\ufb33":2,"\u20ac":3,"\r":4,"1":5,"\u0080":6,"\u00f6":7}`, `[0.000001,333333333.33333329,1e23]`,
		`{"a":1,"a":1}`, `{"a":"` + "\xff" + `"}`, `123456789012345678901234567890`, `[4.5e-324,5e-324,1.7976931348623157e308]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := idempotency.Canonical(in)
		if err != nil {
			return
		}
		if again, err := idempotency.Canonical(out); err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%q is %q, and that is %q, %v", in, out, again, err)
		}
		if len(bytes.TrimSpace(in)) == 0 {
			return
		}
		// It says what its input said, to the last digit.
		if was, is := exact(t, in), exact(t, out); !reflect.DeepEqual(was, is) {
			t.Fatalf("%q became %q", in, out)
		}
		// Another hand's scheme agrees wherever doubles are exact.
		if scheme, err := jcs.Transform(in); err == nil && reflect.DeepEqual(exact(t, scheme), exact(t, in)) {
			if ours, err := jcs.Transform(out); err != nil || !bytes.Equal(ours, scheme) {
				t.Fatalf("%q: %q here is %q in the scheme, want %q, %v", in, out, ours, scheme, err)
			}
		}
	})
}

// exact is a document with its numbers as fractions. Numbers that no test should
// expand stay text.
func exact(t *testing.T, b []byte) any {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return exactly(v)
}

func exactly(v any) any {
	switch v := v.(type) {
	case json.Number:
		if f, ok := new(big.Float).SetString(string(v)); !ok || f.IsInf() || f.Sign() != 0 && (f.MantExp(nil) > 4000 || f.MantExp(nil) < -4000) {
			return string(v)
		}
		if r, ok := new(big.Rat).SetString(string(v)); ok {
			return r.RatString()
		}
		return string(v)
	case map[string]any:
		for k := range v {
			v[k] = exactly(v[k])
		}
	case []any:
		for i := range v {
			v[i] = exactly(v[i])
		}
	}
	return v
}

func BenchmarkCanonical(b *testing.B) {
	in := json.RawMessage(`{"status":"open","customer":"Ada Lovelace","limit":20,"since":"2026-01-01"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := idempotency.Canonical(in); err != nil {
			b.Fatal(err)
		}
	}
}
