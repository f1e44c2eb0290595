package signin

import (
	"encoding/base64"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"

	"latchkey/internal/secret"
)

// CountHashes reports the parameters of every hash that the service works out
// from now on: equal work is what equal time comes from.
func CountHashes(s *Service) func() []params {
	var mu sync.Mutex
	var seen []params
	derive := s.hasher.derive
	s.hasher.derive = func(password, salt []byte, p params, n uint32) []byte {
		mu.Lock()
		seen = append(seen, p)
		mu.Unlock()
		return derive(password, salt, p, n)
	}
	return func() []params {
		mu.Lock()
		defer mu.Unlock()
		was := seen
		seen = nil
		return was
	}
}

// Key works out the last part of an encoded hash from the parts before it.
func Key(password secret.Text, before string) string {
	c, err := parsePHC(before + strings.Repeat("A", 43))
	if err != nil {
		panic(err)
	}
	return base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte(password.Reveal()), c.salt, c.time, c.memory, c.lanes, keyLen))
}
