package audit

import (
	"crypto/rand"
	"encoding/binary"
	"strings"
	"time"
)

// A record's id is `au`, the millisecond of its time, and 45 random bits, in
// the form of every id. So a record is found by its id without an index of
// ids: an index of random keys would be the dearest of all to each call.
const idDigits = "23456789abcdefghijkmnpqrstuvwxyz" // in their own order: ids sort by time

const (
	idPrefix = "au"
	idHalf   = 9 // digits of five bits
)

// NewID makes the id of a record of a time.
func NewID(at time.Time) string {
	var b [8]byte
	rand.Read(b[:])
	out := make([]byte, 0, len(idPrefix)+2*idHalf)
	out = append(out, idPrefix...)
	out = appendDigits(out, uint64(at.UnixMilli()))
	return string(appendDigits(out, binary.BigEndian.Uint64(b[:])))
}

func appendDigits(out []byte, n uint64) []byte {
	for i := idHalf - 1; i >= 0; i-- {
		out = append(out, idDigits[n>>(5*i)&31])
	}
	return out
}

// TimeOfID is the millisecond that NewID put into an id. Ids of other makers
// mean nothing, and may be no time at all.
func TimeOfID(id string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(id, idPrefix)
	if !ok || len(rest) != 2*idHalf {
		return time.Time{}, false
	}
	var ms int64
	for _, c := range []byte(rest[:idHalf]) {
		d := strings.IndexByte(idDigits, c)
		if d < 0 {
			return time.Time{}, false
		}
		ms = ms<<5 | int64(d)
	}
	return time.UnixMilli(ms).UTC(), true
}
