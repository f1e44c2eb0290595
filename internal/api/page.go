package api

import (
	"encoding/base64"
	"encoding/json"

	"latchkey/internal/fault"
)

const (
	defaultLimit = 50
	maxLimit     = 200
)

// limitOf is how many entries a page has.
func limitOf(l *Limit) int {
	if l == nil {
		return defaultLimit
	}
	return max(1, min(*l, maxLimit))
}

// cursor writes where the next page begins: the keys of the last entry, for
// this operation only. It is opaque and not secret: it says nothing that the page
// did not.
func cursor(operation string, keys ...string) *string {
	b, err := json.Marshal(append([]string{operation}, keys...))
	if err != nil { // strings only
		panic(err)
	}
	return ptr(base64.RawURLEncoding.EncodeToString(b))
}

// readCursor gives the keys back, nil for the first page.
func readCursor(operation string, c *Cursor, n int) ([]string, error) {
	if c == nil || *c == "" {
		return nil, nil
	}
	var parts []string
	b, err := base64.RawURLEncoding.DecodeString(*c)
	if err != nil || json.Unmarshal(b, &parts) != nil || len(parts) != n+1 || parts[0] != operation {
		return nil, fault.New(fault.InvalidRequest, "The cursor is not one of this list. Pass next_cursor as it came, or leave it out to begin anew.").
			WithDetails(fault.Detail{Pointer: "?cursor", Reason: "it is not a cursor of this list"})
	}
	return parts[1:], nil
}

// cut takes one more than a page has and says whether there is more.
func cut[T any](all []T, limit int) (page []T, more bool) {
	if len(all) > limit {
		return all[:limit], true
	}
	if all == nil {
		all = []T{}
	}
	return all, false
}
