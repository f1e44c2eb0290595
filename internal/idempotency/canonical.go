package idempotency

import (
	"bytes"
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"

	"latchkey/internal/fault"
)

// Canonical is arguments in the one form that all ways to write them share: the
// JSON Canonicalization Scheme (RFC 8785), with members in order, without space,
// and strings and numbers written in one way. No arguments are the empty object.
//
// It differs from the scheme where that would make two values one. The scheme
// takes each number for a double, so that 9007199254740993 becomes
// 9007199254740992, and a second refund the repeat of a first. Here a number
// that a double may not hold exactly stays as it was written: equal text means
// equal values, always; of such numbers, two ways to write one stay two.
//
// What is no JSON, names a member twice or holds text that is not Unicode is
// refused: readers would differ in what it says.
func Canonical(arguments json.RawMessage) ([]byte, error) {
	if len(bytes.TrimSpace(arguments)) == 0 {
		return []byte("{}"), nil
	}
	v := append(jsontext.Value(nil), arguments...)
	err := v.Canonicalize(
		jsontext.CanonicalizeRawInts(false),
		jsontext.CanonicalizeRawFloats(!holdsLongNumber(v)),
	)
	if err != nil {
		return nil, fault.New(fault.InvalidArguments, "The arguments are not JSON that reads the same everywhere: write each property once, and text in valid Unicode.").Because(err)
	}
	return v, nil
}

// Of decimals of so many digits and so small an exponent no two are the same
// double, and the shortest way to write one is the decimal itself (DBL_DIG,
// IEEE 754).
const (
	doubleDigits   = 15
	doubleExponent = 270
)

// holdsLongNumber reports whether any number with a fraction or an exponent may
// be more exact than a double. It errs on the side of yes.
func holdsLongNumber(b []byte) bool {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case c == '-' || '0' <= c && c <= '9':
			start := i
			for i < len(b) && numberByte(b[i]) {
				i++
			}
			if longNumber(b[start:i]) {
				return true
			}
			i--
		}
	}
	return false
}

func numberByte(c byte) bool {
	return '0' <= c && c <= '9' || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'
}

func longNumber(b []byte) bool {
	digits, exponent, float := 0, 0, false
	for i, c := range b {
		switch {
		case c == '.':
			float = true
		case c == 'e' || c == 'E':
			for _, c := range b[i+1:] {
				if '0' <= c && c <= '9' && exponent < 1000 {
					exponent = 10*exponent + int(c-'0')
				}
			}
			return digits > doubleDigits || exponent > doubleExponent
		case '0' <= c && c <= '9' && (digits > 0 || c != '0'): // zeros in front do not count
			digits++
		}
	}
	return float && digits > doubleDigits
}
