package approvals

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// RequestHash is the same for arguments that mean the same: whatever the order
// of their members, their spaces and the notation of their numbers. Arguments
// that any reader could tell apart differ. They are valid JSON without a name
// twice.
func RequestHash(arguments json.RawMessage) Hash {
	return sha256.Sum256(canonical(arguments))
}

func canonical(arguments json.RawMessage) []byte {
	if len(bytes.TrimSpace(arguments)) == 0 {
		return []byte(`{}`)
	}
	d := json.NewDecoder(bytes.NewReader(arguments))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err == nil {
		var b bytes.Buffer
		// What is no character becomes U+FFFD in reading, whatever it was.
		if write(&b, v); !bytes.ContainsRune(b.Bytes(), utf8.RuneError) {
			return b.Bytes()
		}
	}
	return append([]byte("as sent "), arguments...)
}

func write(b *bytes.Buffer, v any) {
	switch v := v.(type) {
	case map[string]any:
		b.WriteByte('{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b.WriteByte(',')
			}
			write(b, name)
			b.WriteByte(':')
			write(b, v[name])
		}
		b.WriteByte('}')
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			write(b, e)
		}
		b.WriteByte(']')
	case json.Number:
		b.WriteString(number(v.String()))
	default:
		text, err := json.Marshal(v)
		if err != nil { // a text, a boolean or null
			panic(err)
		}
		b.Write(text)
	}
}

// number is a number as a fraction in lowest terms, exactly. What is out of all
// proportion stays as it is: its digits would fill the memory.
func number(s string) string {
	exponent := "0"
	if _, e, found := strings.Cut(strings.ToLower(s), "e"); found {
		exponent = e
	}
	if n, err := strconv.Atoi(exponent); err != nil || n > 400 || n < -400 || len(s) > 400 {
		return s
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return s
	}
	return r.RatString()
}
