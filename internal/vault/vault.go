// Package vault trades the grant of one call for a credential that lives for
// minutes, and lays out a Vault so that a grant opens nothing else.
//
// It owns the layout (mounts, policies, names), the grant and its signer, the
// envelope for what the platform keeps sealed, the database roles of each
// server, and a worker's leases. It leaves to the edge who may call what, and
// to a server's kind what is done with a credential.
//
// Two locks stand before each credential. The tenant's: a policy whose paths
// are templated over the metadata of the entity's alias, and the alias is
// `tenant:user`, so a token cannot change its tenant. The server's and the
// access's: one JWT role for each, whose bound claims must match exactly and
// whose policies are fixed. A path opens only where both agree.
package vault

import (
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Names in Vault. Ids are of a charset that no policy and no template reads as
// a pattern, which is why every name below is built from parsed ids only.
const (
	authMount     = "latchkey" // jwt, for calls
	databaseMount = "database"
	transitMount  = "transit"
	kvMount       = "secret"
	appRoleMount  = "approle"

	platformRole   = "latchkey-platform" // AppRole and policy
	platformPolicy = "latchkey-platform"
	sealKey        = "latchkey-seal"
	loginQuota     = "latchkey-login"
	// keepPolicy allows nothing. A token that has it tells the worker that the
	// credential may serve several calls.
	keepPolicy = "latchkey-server-keep"

	issuer   = "latchkey"
	audience = "vault"

	callIDHeader = "X-Mcp-Call-Id"
)

// configName names a server's database configuration, `<tenant>.<server>`.
func configName(t tenants.ID, s tenants.ServerID) string { return string(t) + "." + string(s) }

// roleName names the database role and the JWT role of a server and access,
// `<tenant>.<server>.ro` or `.rw`. It holds no `/`: those names cannot.
func roleName(t tenants.ID, s tenants.ServerID, a registry.Access) string {
	if a == registry.WriteAccess {
		return configName(t, s) + ".rw"
	}
	return configName(t, s) + ".ro"
}

// policyName names the policy of a server and access.
func policyName(t tenants.ID, s tenants.ServerID, a registry.Access) string {
	return "latchkey-server-" + roleName(t, s, a)
}

var accesses = []registry.Access{registry.ReadAccess, registry.WriteAccess}
