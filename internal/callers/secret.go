package callers

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"latchkey/internal/secret"
)

// Secrets have a prefix, so that a scanner of leaked secrets can tell them,
// and 256 random bits.
const (
	PrefixKey           = "lk_live_"
	PrefixOperatorKey   = "lk_ops_"
	PrefixOperatorToken = "lko_"
)

// Hash is the SHA-256 of a secret of 256 random bits, which is all that is
// stored of it. It is looked up by an index: what time tells of a hash is of
// no use to somebody who has to guess the secret.
type Hash [sha256.Size]byte

// HashOf hashes a secret.
func HashOf(s secret.Text) Hash { return sha256.Sum256([]byte(s)) }

// NewOperatorToken makes an opaque token.
func NewOperatorToken() secret.Text { return newSecret(PrefixOperatorToken) }

// NewCookie makes the value of a session's cookie.
func NewCookie() secret.Text { return newSecret("") }

const encodedLen = 43 // of 32 bytes in base64url

func newSecret(prefix string) secret.Text {
	var b [32]byte
	rand.Read(b[:])
	return secret.Text(prefix + base64.RawURLEncoding.EncodeToString(b[:]))
}

// ParseSecret checks that a text from outside has the form of a secret with
// the prefix, so that nothing else is looked up.
func ParseSecret(prefix, s string) (secret.Text, bool) {
	body, ok := strings.CutPrefix(s, prefix)
	if !ok || len(body) != encodedLen {
		return "", false
	}
	// Strict, or one secret would have several spellings.
	if b, err := base64.RawURLEncoding.Strict().DecodeString(body); err != nil || len(b) != 32 {
		return "", false
	}
	return secret.Text(s), true
}

func hint(s secret.Text) string {
	v := s.Reveal()
	return v[:len(v)-encodedLen] + "…" + v[len(v)-4:]
}
