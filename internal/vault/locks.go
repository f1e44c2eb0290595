package vault

import (
	"context"
	"strings"
	"time"

	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// locks are the two of a server and access: what its tokens are like.
type locks struct {
	access    registry.Access
	tokenType string        // service: revoked with what it obtained; batch: ends by itself
	ttl       time.Duration // of a token
	keep      bool          // the credential may serve several calls
}

// open writes the locks: the policy, and the JWT role that gives it.
func (s *Servers) open(ctx context.Context, t tenants.ID, id tenants.ServerID, accessor string, l locks) error {
	policy := strings.NewReplacer("ACCESSOR", accessor, "SERVER", string(id), "MODE", mode(l.access)).Replace(serverHCL)
	if err := s.client.write(ctx, "sys/policies/acl/"+policyName(t, id, l.access), map[string]any{"policy": policy}); err != nil {
		return err
	}
	policies := []string{policyName(t, id, l.access)}
	if l.keep {
		policies = append(policies, keepPolicy)
	}
	return s.client.write(ctx, "auth/"+authMount+"/role/"+roleName(t, id, l.access), map[string]any{
		"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{audience},
		"bound_claims_type": "string",
		"bound_claims":      map[string]any{"tenant": string(t), "server": string(id), "access": string(l.access)},
		// Metadata belongs to the entity and outlives the token, so it holds
		// only what the alias itself says. Nothing of the call is in it.
		"claim_mappings": map[string]any{"tenant": "tenant"},
		"token_policies": policies, "token_no_default_policy": true,
		"token_type": l.tokenType, "token_ttl": seconds(l.ttl), "token_max_ttl": seconds(l.ttl),
		// -1 is none. 0, the default, is a minute or more, and takes tokens
		// that are expired or never expire.
		"clock_skew_leeway": -1, "expiration_leeway": -1, "not_before_leeway": -1,
	})
}
