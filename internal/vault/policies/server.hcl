# One server and access. The tenant is not written here: it is the one in the
# alias that the grant logged in with, which bound claims fix a second time.
path "database/creds/{{identity.entity.aliases.ACCESSOR.metadata.tenant}}.SERVER.MODE" {
  capabilities = ["read"]
}
path "secret/data/tenants/{{identity.entity.aliases.ACCESSOR.metadata.tenant}}/SERVER/MODE/*" {
  capabilities = ["read"]
}

# What belongs to one person is opened by a grant for that person's call: the
# alias's name is the grant's subject.
path "secret/data/tenants/{{identity.entity.aliases.ACCESSOR.metadata.tenant}}/SERVER/users/{{identity.entity.aliases.ACCESSOR.name}}" {
  capabilities = ["read"]
}

# Ends the token and, with it, every credential it obtained. Nothing under
# sys/leases: what is there is not bound to a tenant.
path "auth/token/revoke-self" {
  capabilities = ["update"]
}
