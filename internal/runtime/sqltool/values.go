package sqltool

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// How Postgres's values become JSON. An agent reads the answer with a JSON
// parser whose numbers are mostly doubles, so a number that a double cannot
// hold exactly becomes a text instead of a wrong number:
//
//	smallint, integer, bigint, oid   number; text beyond ±2^53
//	numeric                          number with up to 15 digits, else text; NaN is "NaN"
//	real, double precision           number; "NaN", "Infinity", "-Infinity"
//	boolean                          true, false
//	json, jsonb                      as it is
//	timestamptz                      text, RFC 3339 in UTC
//	timestamp, date, time, interval  text, ISO 8601, without a zone
//	bytea                            text, base64
//	arrays                           list
//	everything else                  text, as Postgres writes it
//
// NULL is null.

const (
	maxExact       = 1 << 53
	maxExactDigits = 15
)

// appendValue appends the JSON of a value in Postgres's text format.
func appendValue(dst []byte, m *pgtype.Map, oid uint32, raw []byte) []byte {
	if raw == nil {
		return append(dst, "null"...)
	}
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID:
		n, err := strconv.ParseInt(string(raw), 10, 64)
		if err == nil && n <= maxExact && n >= -maxExact {
			return append(dst, raw...)
		}
	case pgtype.NumericOID:
		if digits(raw) <= maxExactDigits && isJSONNumber(raw) {
			return append(dst, raw...)
		}
	case pgtype.Float4OID, pgtype.Float8OID:
		if isJSONNumber(raw) {
			return append(dst, raw...)
		}
	case pgtype.BoolOID:
		return strconv.AppendBool(dst, len(raw) == 1 && raw[0] == 't')
	case pgtype.JSONOID, pgtype.JSONBOID:
		var b bytes.Buffer
		if json.Compact(&b, raw) == nil {
			return append(dst, b.Bytes()...)
		}
	case pgtype.TimestamptzOID:
		return appendText(dst, instant(string(raw)))
	case pgtype.TimestampOID:
		return appendText(dst, strings.Replace(string(raw), " ", "T", 1))
	case pgtype.ByteaOID:
		if b, err := hex.DecodeString(strings.TrimPrefix(string(raw), `\x`)); err == nil {
			return append(base64.StdEncoding.AppendEncode(append(dst, '"'), b), '"')
		}
	default:
		if element, ok := elementOf(m, oid); ok {
			if out, ok := appendArray(dst, m, element, raw); ok {
				return out
			}
		}
	}
	return appendText(dst, string(raw))
}

// instant turns `2026-01-31 12:00:00.5+00` into RFC 3339. What has no such form
// (infinity, years before Christ) stays as it is.
func instant(s string) string {
	t, err := time.Parse("2006-01-02 15:04:05.999999999Z07", s)
	if err != nil {
		return s
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// isJSONNumber excludes NaN and the infinities.
func isJSONNumber(raw []byte) bool {
	return len(raw) > 0 && (raw[0] == '-' || isDigit(raw[0])) && json.Valid(raw)
}

// digits counts the significant digits of a number without exponent.
func digits(raw []byte) int {
	s := strings.TrimLeft(strings.TrimPrefix(string(raw), "-"), "0.")
	if !bytes.ContainsRune(raw, '.') {
		return len(s)
	}
	return len(s) - strings.Count(s, ".")
}

// appendText appends a JSON text without the escapes for HTML, which only make
// an answer longer.
func appendText(dst []byte, s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return append(dst, `""`...)
	}
	return append(dst, bytes.TrimRight(b.Bytes(), "\n")...)
}

func elementOf(m *pgtype.Map, oid uint32) (uint32, bool) {
	t, ok := m.TypeForOID(oid)
	if !ok {
		return 0, false
	}
	c, ok := t.Codec.(*pgtype.ArrayCodec)
	if !ok {
		return 0, false
	}
	return c.ElementType.OID, true
}

// appendArray reads an array's text form: {1,NULL,"a \"quoted\" one",{2,3}}.
// Bounds before it ([0:1]={…}) are left out.
func appendArray(dst []byte, m *pgtype.Map, element uint32, raw []byte) ([]byte, bool) {
	if len(raw) > 0 && raw[0] == '[' {
		_, rest, found := bytes.Cut(raw, []byte("]="))
		if !found {
			return nil, false
		}
		raw = rest
	}
	a := arrayReader{m: m, element: element, src: raw}
	dst, ok := a.list(dst, 0)
	return dst, ok && a.pos == len(raw)
}

type arrayReader struct {
	m       *pgtype.Map
	element uint32
	src     []byte
	pos     int
}

func (a *arrayReader) peek() byte {
	if a.pos < len(a.src) {
		return a.src[a.pos]
	}
	return 0
}

func (a *arrayReader) list(dst []byte, depth int) ([]byte, bool) {
	if a.peek() != '{' || depth > 6 { // Postgres allows six dimensions
		return nil, false
	}
	a.pos++
	dst = append(dst, '[')
	if a.peek() == '}' {
		a.pos++
		return append(dst, ']'), true
	}
	for {
		var ok bool
		if dst, ok = a.item(dst, depth); !ok {
			return nil, false
		}
		switch a.peek() {
		case ',':
			dst = append(dst, ',')
		case '}':
			a.pos++
			return append(dst, ']'), true
		default:
			return nil, false
		}
		a.pos++
	}
}

func (a *arrayReader) item(dst []byte, depth int) ([]byte, bool) {
	switch a.peek() {
	case '{':
		return a.list(dst, depth+1)
	case '"':
		a.pos++
		var text []byte
		for a.pos < len(a.src) && a.src[a.pos] != '"' {
			if a.src[a.pos] == '\\' {
				a.pos++
			}
			if a.pos >= len(a.src) {
				return nil, false
			}
			text = append(text, a.src[a.pos])
			a.pos++
		}
		if a.peek() != '"' {
			return nil, false
		}
		a.pos++
		if text == nil {
			text = []byte{}
		}
		return appendValue(dst, a.m, a.element, text), true
	}
	n := bytes.IndexAny(a.src[a.pos:], ",}")
	if n <= 0 {
		return nil, false
	}
	text := a.src[a.pos : a.pos+n]
	a.pos += n
	if string(text) == "NULL" {
		text = nil
	}
	return appendValue(dst, a.m, a.element, text), true
}
