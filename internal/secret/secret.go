// Package secret has the one type for values that must never be printed.
// It is as low as fault: anything may hold a secret.
package secret

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

const mask = "[redacted]"

// Text prints as [redacted] through fmt, slog and String. Reveal is the only
// way to the value, so that a reader finds every place that uses one. It does
// go over the wire in JSON: the structs that cross a process boundary need it.
type Text string

// Reveal gives the value.
func (t Text) Reveal() string { return string(t) }

// Equal compares in constant time.
func (t Text) Equal(other string) bool {
	return subtle.ConstantTimeCompare([]byte(t), []byte(other)) == 1
}

func (Text) String() string             { return mask }
func (Text) GoString() string           { return mask }
func (Text) Format(s fmt.State, _ rune) { s.Write([]byte(mask)) }
func (Text) LogValue() slog.Value       { return slog.StringValue(mask) }
