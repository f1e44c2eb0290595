package guard

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/tenants"
)

// KeepFor is how long the whole of a large result can be read.
const KeepFor = time.Hour

// MaxKept is how many bytes of results are kept for a tenant at a time. What is
// more is only cut.
const MaxKept = 256 << 20

// Kept is a guarded result that was too large to give inline. Whoever called
// may read it, with the grant of that call and as long as the tool's scope is
// theirs.
type Kept struct {
	ID        string // `kr…`
	Server    tenants.ServerID
	User      tenants.UserID
	Grant     string
	Scope     string
	Tool      string
	Parts     []KeptPart
	CreatedAt time.Time
	ExpiresAt time.Time
}

// KeptPart is one part as it is stored.
type KeptPart struct {
	MIME   string
	Sealed []byte
}

// ErrNoRoom is for a tenant that has as much kept as it may.
var ErrNoRoom = errors.New("guard: no room to keep the result")

// Results keeps large results, inside a tenant.
type Results interface {
	// KeepResult stores all parts or none. With more than most bytes of all that
	// has not expired it is ErrNoRoom.
	KeepResult(ctx context.Context, t tenants.ID, k Kept, most int64) error
	// KeptPart finds one part, from 1 on: the result holds only that. What has
	// expired is fault.NotFound.
	KeptPart(ctx context.Context, t tenants.ID, id string, part int, now time.Time) (Kept, error)
	// CollectResults removes what has expired, of all tenants.
	CollectResults(ctx context.Context, now time.Time) (int64, error)
}

// KeptTemplate is the resource under which parts are read (RFC 6570).
const KeptTemplate = "latchkey://results/{id}/{part}"

const keptPrefix = "latchkey://results/"

// KeptURI is that of a part.
func KeptURI(id string, part int) string { return fmt.Sprintf("%s%s/%d", keptPrefix, id, part) }

// ParseKeptURI reads what KeptURI wrote, and nothing else.
func ParseKeptURI(uri string) (id string, part int, ok bool) {
	rest, ok := strings.CutPrefix(uri, keptPrefix)
	id, number, found := strings.Cut(rest, "/")
	part, err := strconv.Atoi(number)
	if !ok || !found || err != nil || part < 1 || part > 10_000 || KeptURI(id, part) != uri || len(id) != 20 || !strings.HasPrefix(id, "kr") || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return "", 0, false
	}
	return id, part, true
}

// SealedAs is the place of a part, which it is sealed for.
func SealedAs(id string, part int) string { return "result/" + id + "/" + strconv.Itoa(part) }
