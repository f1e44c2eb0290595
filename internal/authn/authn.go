// Package authn turns a bearer token into a Principal: signature, type,
// issuer, audience, time and revocation.
//
// It leaves to oauth how tokens are made and to mcpgateway what a principal
// may call. It never looks at roles.
package authn

import (
	"slices"
	"time"

	"latchkey/internal/tenants"
)

// Principal is who makes a call, as the access token says it (RFC 9068).
type Principal struct {
	Tenant    tenants.ID
	User      tenants.UserID // `sub`, of a person's token
	Key       string         // `sub`, of a token that was got with an API key; one of the two is empty
	Client    string         // `client_id`
	Grant     string         // `gid`: the consent this token comes from; empty with Key
	TokenID   string         // `jti`
	Audience  string         // `aud`: the one MCP endpoint it is good for, or the platform API
	Scopes    []string       // `scope`
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// Has reports whether the token carries the scope.
func (p Principal) Has(scope string) bool { return slices.Contains(p.Scopes, scope) }
