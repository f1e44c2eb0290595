package audit

import (
	"encoding/json"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxSummary = 2048 // bytes of a whole summary
	maxValue   = 80   // bytes of one string in it
	maxDepth   = 4
)

var (
	secretKey = regexp.MustCompile(`(?i)pass(word|wd|phrase)?$|secret|token|api[_-]?key|authorization|credential|private|cookie|cvv|cvc|pin$|ssn`)
	// What looks like a credential or a card, wherever it stands.
	secretValue = regexp.MustCompile(`(?i)\b(?:bearer\s+\S+|eyJ[\w-]{10,}\.[\w-]+\.?[\w-]*|(?:sk|pk|lk|gh[pousr]|xox[abp]|hv[sb])[_.-][\w.-]{12,}|AKIA[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KEY)|\b\d(?:[ -]?\d){12,18}\b`)
	email       = regexp.MustCompile(`([\p{L}\p{N}._%+-])[\p{L}\p{N}._%+-]*@([\p{L}\p{N}.-]+\.\p{L}{2,})`)
)

// minSecret is the length of the shortest text that secretValue matches:
// "bearer x".
const minSecret = 8

// Summarize turns a call's arguments into what an audit record may hold: the
// keys, numbers and booleans as they are; strings shortened, with control
// characters shown, addresses masked, and what looks like a secret withheld.
func Summarize(arguments json.RawMessage) string {
	if len(arguments) == 0 {
		return ""
	}
	var v any
	d := json.NewDecoder(strings.NewReader(string(arguments)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return fmt.Sprintf("(not JSON, %d bytes)", len(arguments))
	}
	var b strings.Builder
	summarize(&b, v, 0)
	s := b.String()
	if len(s) > maxSummary {
		s = cut(s, maxSummary) + "…"
	}
	return s
}

func summarize(b *strings.Builder, v any, depth int) {
	switch v := v.(type) {
	case map[string]any:
		if depth == maxDepth {
			fmt.Fprintf(b, "{%d keys}", len(v))
			return
		}
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		b.WriteByte('{')
		for i, k := range keys {
			if i > 0 {
				b.WriteString(", ")
			}
			if b.Len() > maxSummary {
				b.WriteString("…")
				break
			}
			b.WriteString(printable(k) + ": ")
			if secretKey.MatchString(k) {
				b.WriteString("[redacted]")
				continue
			}
			summarize(b, v[k], depth+1)
		}
		b.WriteByte('}')
	case []any:
		if depth == maxDepth || len(v) > 20 {
			fmt.Fprintf(b, "[%d items]", len(v))
			return
		}
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteString(", ")
			}
			if b.Len() > maxSummary {
				b.WriteString("…")
				break
			}
			summarize(b, e, depth+1)
		}
		b.WriteByte(']')
	case string:
		b.WriteString(`"` + printable(v) + `"`)
	case json.Number:
		if secretValue.MatchString(v.String()) {
			b.WriteString("[redacted]")
			return
		}
		b.WriteString(cut(v.String(), maxValue))
	default:
		fmt.Fprint(b, v)
	}
}

// printable redacts first and shortens then, so that a secret cannot hide
// behind the cut.
func printable(s string) string {
	n := len(s)
	if n > 4*maxSummary {
		s = cut(s, 4*maxSummary)
	}
	if len(s) >= minSecret {
		s = secretValue.ReplaceAllString(s, "[redacted]")
	}
	if strings.Contains(s, "@") {
		s = email.ReplaceAllString(s, "$1…@$2")
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
	if len(s) > maxValue {
		return fmt.Sprintf("%s… (%d bytes)", cut(s, maxValue), n)
	}
	return s
}

// cut shortens at a rune's boundary.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
