// Package vault trades the grant of one call for a credential that lives for
// minutes, and lays out a Vault so that a grant opens nothing else.
//
// It owns the layout (mounts, policies, names), the grant and its signer, the
// envelope for what the platform keeps sealed, the database roles and the static
// secrets of each server, and a worker's leases. It leaves to the edge who may call what, and
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

// mode is an access as names in Vault have it.
func mode(a registry.Access) string {
	if a == registry.WriteAccess {
		return "rw"
	}
	return "ro"
}

// roleName names the database role and the JWT role of a server and access,
// `<tenant>.<server>.ro` or `.rw`. It holds no `/`: those names cannot.
func roleName(t tenants.ID, s tenants.ServerID, a registry.Access) string {
	return configName(t, s) + "." + mode(a)
}

// alias is the subject of a grant, and the name of its alias in Vault.
func alias(t tenants.ID, u tenants.UserID) string { return string(t) + ":" + string(u) }

// Static secrets of a server, below the mount and `data` or `metadata`:
//
//	tenants/<tenant>/<server>/<mode>/connection       the connection's, see PutSecrets
//	tenants/<tenant>/<server>/<mode>/token            the server's token, see PutSharedToken
//	tenants/<tenant>/<server>/users/<tenant>:<user>   a person's, see PutUserSecrets
//
// The last is opened by the name of the grant's alias and by nothing else.
func tenantFolder(t tenants.ID) string { return "tenants/" + string(t) + "/" }

func serverFolder(t tenants.ID, s tenants.ServerID) string {
	return tenantFolder(t) + string(s) + "/"
}

func connectionPath(t tenants.ID, s tenants.ServerID, a registry.Access) string {
	return serverFolder(t, s) + mode(a) + "/connection"
}

func tokenPath(t tenants.ID, s tenants.ServerID, a registry.Access) string {
	return serverFolder(t, s) + mode(a) + "/token"
}

func userPath(t tenants.ID, s tenants.ServerID, u tenants.UserID) string {
	return serverFolder(t, s) + "users/" + alias(t, u)
}

// policyName names the policy of a server and access.
func policyName(t tenants.ID, s tenants.ServerID, a registry.Access) string {
	return "latchkey-server-" + roleName(t, s, a)
}

var accesses = []registry.Access{registry.ReadAccess, registry.WriteAccess}
