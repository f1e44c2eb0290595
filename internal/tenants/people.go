package tenants

import (
	"context"
	"time"
)

// Member is a person as an administrator sees them.
type Member struct {
	User
	CreatedAt   time.Time
	HasPassword bool
	LastSeenAt  time.Time // in a browser; zero: not in a session that is kept
	Grants      int       // of apps, in force
}

// MemberStatus is what a list of members can be narrowed to.
type MemberStatus string

const (
	MemberActive     MemberStatus = "active"
	MemberDisabled   MemberStatus = "disabled"
	MemberNoPassword MemberStatus = "no_password" // and not disabled
)

// MemberQuery narrows a list of members, which is by address. Zero values
// narrow nothing.
type MemberQuery struct {
	Search string // part of a name or address
	Role   string
	Status MemberStatus
	After  string // an address
	Limit  int
}

// Members is the part of a store that administers people. Unknown things are
// fault.NotFound.
//
// A change that would leave a tenant without anybody enabled who holds Admin,
// where it had somebody, is fault.Conflict. That goes for Store's methods too.
type Members interface {
	Members(ctx context.Context, t ID, q MemberQuery) ([]Member, error)
	// Member finds by id or by address.
	Member(ctx context.Context, t ID, key string) (Member, error)
	// SaveMember is PutUser and SetUserDisabled as one change.
	SaveMember(ctx context.Context, t ID, email, name string, roles []string, disabled bool) (User, error)
	// DeleteUser removes a person with their sessions, consents and grants,
	// and revokes what would invite them back.
	DeleteUser(ctx context.Context, t ID, id UserID) error
	// MemberEffects counts what DeleteUser would remove; where it would be
	// refused, so is this.
	MemberEffects(ctx context.Context, t ID, id UserID) (Effects, error)
}

// Effects says in words and counts what a deletion takes with it.
type Effects []Effect

// Effect is one line: `3 browser sessions` is {"browser sessions", 3}.
type Effect struct {
	What  string
	Count int
}

// RoleUse is a role with how many people hold it.
type RoleUse struct {
	Role
	Members int
}

// RoleScope is one scope that one role opens.
type RoleScope struct {
	Role string
	Scope
}

// RoleAdmin is the part of a store that administers what roles open, by the
// rule of Members.
type RoleAdmin interface {
	RoleUses(ctx context.Context, t ID) ([]RoleUse, error)
	RoleUse(ctx context.Context, t ID, name string) (RoleUse, error)
	// RoleEffects is to DeleteRole what MemberEffects is to DeleteUser.
	RoleEffects(ctx context.Context, t ID, name string) (Effects, error)
	// ChangeAccess opens and closes scopes, all or none. To open what is open
	// and to close what is closed is no error; an unknown role or server is.
	ChangeAccess(ctx context.Context, t ID, open, close []RoleScope) error
}
