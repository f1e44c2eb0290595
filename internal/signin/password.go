package signin

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

const (
	minPassword = 12  // characters
	maxPassword = 256 // bytes
)

// acceptable is the policy: long enough, short enough to hash, and not the
// person's own address. Composition rules are left out on purpose (NIST SP
// 800-63B section 3.1.1.2).
func acceptable(password secret.Text, u tenants.User) error {
	p := password.Reveal()
	refuse := func(reason, fix string) error {
		return fault.New(fault.InvalidArguments, "This password cannot be used: %s. %s.", reason, fix).
			WithDetails(fault.Detail{Pointer: "/password", Reason: reason, Fix: fix})
	}
	switch {
	case !utf8.ValidString(p) || strings.ContainsRune(p, 0):
		return refuse("it is not plain text", "Use letters, digits, spaces and signs")
	case utf8.RuneCountInString(p) < minPassword:
		return refuse(fmt.Sprintf("it has %d characters, and at least %d are needed", utf8.RuneCountInString(p), minPassword), "Use a few words, or let a password manager make one")
	case len(p) > maxPassword:
		return refuse(fmt.Sprintf("it is longer than %d bytes", maxPassword), "Use a shorter one")
	case strings.Count(p, p[:1]) == len(p):
		return refuse("it is one character over and over", "Use a few words, or let a password manager make one")
	case strings.EqualFold(p, u.Email):
		return refuse("it is the email address", "Use a few words, or let a password manager make one")
	}
	return nil
}

// params of argon2id (RFC 9106): memory in KiB, passes, lanes.
type params struct {
	memory, time uint32
	lanes        uint8
}

// current is the OWASP minimum with the least memory: 19 MiB, two passes.
var current = params{memory: 19 << 10, time: 2, lanes: 1}

const saltLen, keyLen = 16, 32

// hasher does the expensive part, a few at a time. What waits is bounded too:
// each waiting request holds a connection.
type hasher struct {
	slots  chan struct{}
	queue  chan struct{}
	derive func(password, salt []byte, p params, keyLen uint32) []byte
	dummy  phc
}

func newHasher(slots int) *hasher {
	h := &hasher{
		slots: make(chan struct{}, slots),
		queue: make(chan struct{}, 32*slots),
		derive: func(password, salt []byte, p params, keyLen uint32) []byte {
			return argon2.IDKey(password, salt, p.time, p.memory, p.lanes, keyLen)
		},
		dummy: phc{params: current, salt: make([]byte, saltLen), key: make([]byte, keyLen)},
	}
	rand.Read(h.dummy.salt)
	rand.Read(h.dummy.key)
	return h
}

var errBusy = fault.New(fault.Busy, "Many people are signing in at this moment. Try again in a few seconds.").After(3 * time.Second)

func (h *hasher) run(ctx context.Context, password secret.Text, salt []byte, p params, n uint32) ([]byte, error) {
	select {
	case h.queue <- struct{}{}:
		defer func() { <-h.queue }()
	default:
		return nil, errBusy
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, errBusy.Because(ctx.Err())
	}
	return h.derive([]byte(password.Reveal()), salt, p, n), nil
}

// hash encodes a new password.
func (h *hasher) hash(ctx context.Context, password secret.Text) (string, error) {
	c := phc{params: current, salt: make([]byte, saltLen)}
	rand.Read(c.salt)
	var err error
	c.key, err = h.run(ctx, password, c.salt, c.params, keyLen)
	return c.String(), err
}

// matches checks a password against an encoded hash. Without a hash that can
// be read it works as long on one that nothing matches, so that the time does
// not say whether an account exists.
func (h *hasher) matches(ctx context.Context, password secret.Text, encoded string) (ok, outdated bool, err error) {
	c, parseErr := parsePHC(encoded)
	if parseErr != nil {
		c = h.dummy
	}
	got, err := h.run(ctx, password, c.salt, c.params, uint32(len(c.key)))
	if err != nil {
		return false, false, err
	}
	ok = subtle.ConstantTimeCompare(got, c.key) == 1 && parseErr == nil
	return ok, ok && (c.params != current || len(c.salt) != saltLen || len(c.key) != keyLen), nil
}

// phc is a hash in the PHC string format:
// $argon2id$v=19$m=19456,t=2,p=1$<salt>$<key>
type phc struct {
	params
	salt, key []byte
}

func (c phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memory, c.time, c.lanes,
		base64.RawStdEncoding.EncodeToString(c.salt), base64.RawStdEncoding.EncodeToString(c.key))
}

// parsePHC bounds what it accepts: a row in the store must not decide how much
// memory one request takes.
func parsePHC(s string) (c phc, err error) {
	bad := func(why string) (phc, error) { return phc{}, fmt.Errorf("password hash: %s", why) }
	part := strings.Split(s, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return bad("not argon2id of version 19 in PHC form")
	}
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &c.memory, &c.time, &c.lanes); err != nil ||
		part[3] != fmt.Sprintf("m=%d,t=%d,p=%d", c.memory, c.time, c.lanes) {
		return bad("parameters unreadable")
	}
	if c.memory < 8 || c.memory > 256<<10 || c.time < 1 || c.time > 16 || c.lanes < 1 || c.lanes > 16 {
		return bad("parameters out of bounds")
	}
	if c.salt, err = base64.RawStdEncoding.Strict().DecodeString(part[4]); err != nil || len(c.salt) < 8 || len(c.salt) > 64 {
		return bad("salt unreadable")
	}
	if c.key, err = base64.RawStdEncoding.Strict().DecodeString(part[5]); err != nil || len(c.key) < 16 || len(c.key) > 64 {
		return bad("key unreadable")
	}
	return c, nil
}
