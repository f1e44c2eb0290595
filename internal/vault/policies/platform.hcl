# What the platform itself may do. It writes the layout of servers and never
# reads a credential: those are issued only to the grant of a call.

# Pin the keys that grants are signed with.
path "auth/latchkey/config" {
  capabilities = ["create", "read", "update"]
}

# One JWT role for each server and access.
path "auth/latchkey/role/*" {
  capabilities = ["create", "read", "update", "delete"]
}

# One policy for each server and access.
path "sys/policies/acl/latchkey-server-*" {
  capabilities = ["create", "read", "update", "delete"]
}

# The accessor of the auth mount stands in those policies.
path "sys/auth" {
  capabilities = ["read"]
}

# Connections and database roles; `database/creds` is not among them.
path "database/config/*" {
  capabilities = ["create", "read", "update", "delete"]
}
path "database/config" {
  capabilities = ["list"]
}
path "database/config/" {
  capabilities = ["list"]
}
path "database/reset/*" {
  capabilities = ["update"]
}
path "database/roles/*" {
  capabilities = ["create", "read", "update", "delete"]
}

# Revoke everything of a server that goes or changes.
path "sys/leases/revoke-prefix/database/creds/*" {
  capabilities = ["update", "sudo"]
}
path "sys/leases/revoke-force/database/creds/*" {
  capabilities = ["update", "sudo"]
}

# Static secrets of tenants are written and removed, not read. Their metadata
# has no secret: version, time, and a code that tells whether values changed.
path "secret/data/tenants/*" {
  capabilities = ["create", "update"]
}
path "secret/metadata/tenants/*" {
  capabilities = ["create", "update", "read", "list", "delete"]
}
path "transit/hmac/latchkey-seal" {
  capabilities = ["update"]
}

# What renews the tokens of connected accounts is the platform's to use: it is
# the OAuth client. No grant of a call opens it.
path "secret/data/accounts/*" {
  capabilities = ["create", "update", "read"]
}
path "secret/metadata/accounts/*" {
  capabilities = ["create", "update", "read", "list", "delete"]
}

# The envelope of signing keys and of upstream tokens.
path "transit/encrypt/latchkey-seal" {
  capabilities = ["update"]
}
path "transit/decrypt/latchkey-seal" {
  capabilities = ["update"]
}
