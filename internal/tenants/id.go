package tenants

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// ID names a tenant. Its charset is part of the isolation: the id stands in
// Vault policies, database role names and subjects, where `*`, `+`, `.` and
// `/` mean something. Only ParseID and NewID make one.
type ID string

// ServerID names a registered server of one tenant, in the same charset.
type ServerID string

// UserID names a person of one tenant.
type UserID string

const idLen = 20

var (
	idEncoding = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)
	errID      = errors.New("not an identifier")
)

// NewID makes a tenant id: `tn` and 90 random bits.
func NewID() ID { return ID(newID("tn")) }

// NewServerID makes a server id: `sv` and 90 random bits.
func NewServerID() ServerID { return ServerID(newID("sv")) }

// NewUserID makes a user id: `us` and 90 random bits.
func NewUserID() UserID { return UserID(newID("us")) }

// RandomID makes an identifier of the common form for other kinds of things:
// a two-letter prefix and 90 random bits from `[a-z2-9]`, 20 bytes in all.
func RandomID(prefix string) string { return newID(prefix) }

func newID(prefix string) string {
	var b [12]byte
	rand.Read(b[:])
	return prefix + idEncoding.EncodeToString(b[:])[:idLen-len(prefix)]
}

// ParseID checks an id from outside (a token, a row, a message).
func ParseID(s string) (ID, error) { return parse[ID](s, "tn") }

// ParseServerID checks a server id from outside.
func ParseServerID(s string) (ServerID, error) { return parse[ServerID](s, "sv") }

// ParseUserID checks a user id from outside.
func ParseUserID(s string) (UserID, error) { return parse[UserID](s, "us") }

func parse[T ~string](s, prefix string) (T, error) {
	if len(s) != idLen || !strings.HasPrefix(s, prefix) {
		return "", fmt.Errorf("%w: %q", errID, trim(s))
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9') {
			return "", fmt.Errorf("%w: %q", errID, trim(s))
		}
	}
	return T(s), nil
}

func trim(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
