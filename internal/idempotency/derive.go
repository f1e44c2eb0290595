package idempotency

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"latchkey/internal/tenants"
)

// RequestHash is all that makes a call of a server the same. The arguments are
// canonical.
func RequestHash(tool string, canonical []byte) Hash {
	return hashOf("request", tool, string(canonical))
}

// GivenKey stands for a key that the caller gave, whatever it is.
func GivenKey(key string) Hash { return hashOf("given", key) }

// DerivedKey is the key of a call whose caller gave none: the same person, tool
// and canonical arguments are the same call.
func DerivedKey(t tenants.ID, u tenants.UserID, s tenants.ServerID, tool string, canonical []byte) Hash {
	return hashOf("derived", string(t), string(u), string(s), tool, string(canonical))
}

// UpstreamKey is the key that reaches a tool's upstream. It stands for one name
// in all tenants, so that two people's equal keys do not meet there, and tells
// nothing of them. A derived key comes back when its outcome has had its day;
// what runs then is another call, also for an upstream with a longer memory, so
// that the id of the call that is the first under it goes in. A key that the
// caller gave stays one for as long as the upstream remembers it.
func UpstreamKey(t tenants.ID, n CallName, tool, first string) string {
	h := hashOf("upstream", string(t), string(n.User), string(n.Server), tool, string(n.Key[:]), first)
	return "lk-" + hex.EncodeToString(h[:20])
}

// hashOf hashes parts so that no two lists of parts are the same bytes.
func hashOf(kind string, parts ...string) Hash {
	h := sha256.New()
	var size [8]byte
	write := func(s string) {
		binary.BigEndian.PutUint64(size[:], uint64(len(s)))
		h.Write(size[:])
		h.Write([]byte(s))
	}
	write(kind)
	for _, p := range parts {
		write(p)
	}
	return Hash(h.Sum(nil))
}
