package approvals

import (
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
)

// Confirmation is the word of whoever makes a call, given by a dry run for the
// same call once more.
type Confirmation struct {
	ID    string // `cn` and 90 random bits; stands in the audit
	Token Hash
	Subject
	Grant     string // of the app that got it; empty at the console
	CreatedAt time.Time
	ExpiresAt time.Time
	Used      Used
}

const (
	tokenPrefix  = "cf"
	tokenLetters = "abcdefghijklmnopqrstuvwxyz234567"
	tokenLength  = 26 // of five bits each
)

// NewToken makes the token of a confirmation: 130 random bits.
func NewToken() (secret.Text, Hash) {
	t := tokenPrefix + strings.ToLower(rand.Text())
	return secret.Text(t), sha256.Sum256([]byte(t))
}

// ParseToken hashes a token from outside; ok is false for what can be none.
func ParseToken(token string) (h Hash, ok bool) {
	token = strings.TrimSpace(token)
	rest, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok || len(rest) != tokenLength || strings.Trim(rest, tokenLetters) != "" {
		return h, false
	}
	return sha256.Sum256([]byte(token)), true
}

// ErrUnknown is for a confirmation that never was, or is not the caller's: which
// of the two is not said.
var ErrUnknown = fault.New(fault.ConfirmationInvalid, "This confirmation is not known. Call without it: the answer has a new one. Nothing was done.")

// Spend uses a confirmation for a call, or says what it is not good for. A
// repeat of the call that it was used for is that call.
func (c *Confirmation) Spend(s Subject, grant string, u Use) error {
	invalid := func(what string) error {
		return fault.New(fault.ConfirmationInvalid, "This confirmation %s. Call without it: the answer has a new one. Nothing was done.", what)
	}
	switch {
	case c.User != s.User || c.Grant != grant:
		return ErrUnknown
	case c.Server != s.Server || c.Tool != s.Tool:
		return invalid("is for another tool")
	case c.Definition != s.Definition:
		return invalid("is for the tool as it was before it changed")
	case c.Request != s.Request:
		return invalid("is for other arguments")
	case c.Used.again(u):
		return nil
	case !c.Used.At.IsZero():
		return invalid("was used already")
	case !u.At.Before(c.ExpiresAt):
		return invalid("has expired")
	}
	c.Used = Used{u.Key, u.At, u.Until}
	return nil
}
