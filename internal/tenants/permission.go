package tenants

import (
	"slices"
	"strings"
)

// Permission is a right on the platform API, which a role opens beside scopes
// on servers. Scopes say what a person's agent may call; permissions say what
// the person, or a key, may see and change of the tenant itself.
type Permission string

// The permissions. `<noun>:write` implies `<noun>:read`.
const (
	// Admin implies every other one, also those that later versions add.
	Admin        Permission = "admin"
	TenantRead   Permission = "tenant:read"
	TenantWrite  Permission = "tenant:write"
	MembersRead  Permission = "members:read"
	MembersWrite Permission = "members:write"
	RolesRead    Permission = "roles:read"
	RolesWrite   Permission = "roles:write"
	ServersRead  Permission = "servers:read"
	ServersWrite Permission = "servers:write"
	// ToolsTry calls a tool from the console. It is a right of people only.
	ToolsTry     Permission = "tools:try"
	ClientsRead  Permission = "clients:read"
	ClientsWrite Permission = "clients:write"
	KeysRead     Permission = "keys:read"
	KeysWrite    Permission = "keys:write"
	AuditRead    Permission = "audit:read"
	UsageRead    Permission = "usage:read"
	LimitsRead   Permission = "limits:read"
	LimitsWrite  Permission = "limits:write"
	// SwitchesWrite turns kill switches on and off.
	SwitchesRead  Permission = "switches:read"
	SwitchesWrite Permission = "switches:write"
	// ApprovalsRead sees every approval. A person decides by the role that the
	// tool names; ApprovalsWrite lets a key decide, which has no role.
	ApprovalsRead  Permission = "approvals:read"
	ApprovalsWrite Permission = "approvals:write"
	EventsRead     Permission = "events:read"
	EventsWrite    Permission = "events:write" // acknowledge
)

var permissions = []Permission{
	Admin, TenantRead, TenantWrite, MembersRead, MembersWrite, RolesRead, RolesWrite, ServersRead, ServersWrite,
	ToolsTry, ClientsRead, ClientsWrite, KeysRead, KeysWrite, AuditRead, UsageRead,
	LimitsRead, LimitsWrite, SwitchesRead, SwitchesWrite, ApprovalsRead, ApprovalsWrite, EventsRead, EventsWrite,
}

// Permissions lists all of them, Admin first.
func Permissions() []Permission { return slices.Clone(permissions) }

// ValidPermission reports whether p is one of the permissions.
func ValidPermission(p Permission) bool { return slices.Contains(permissions, p) }

// Holds reports whether someone who holds these has the permission, as it is
// or implied.
func Holds(held []Permission, p Permission) bool {
	if slices.Contains(held, p) || slices.Contains(held, Admin) {
		return true
	}
	noun, read := strings.CutSuffix(string(p), ":read")
	return read && slices.Contains(held, Permission(noun+":write"))
}

// Beyond lists what of asked goes beyond held: nobody gives away what they do
// not have.
func Beyond(held, asked []Permission) []Permission {
	var out []Permission
	for _, p := range asked {
		if !Holds(held, p) {
			out = append(out, p)
		}
	}
	return out
}

// Platform stands where a tenant's id does in the records of what operators do
// to the platform itself. No tenant has it: random ids have no 0.
const Platform ID = "tn000000000000000000"
