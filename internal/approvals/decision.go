package approvals

import (
	"slices"
	"strings"
	"time"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Decision is somebody's answer to an approval.
type Decision struct {
	Approve bool
	By      Decider
	At      time.Time
	Reason  string // who asked is told
}

// Decider is who decides: a person, or a key.
type Decider struct {
	Name  string         // an address, or the name of a key
	User  tenants.UserID // of a person; empty for a key
	Roles []string       // that the person holds now
	Key   *callers.Key   // of a key
	May   bool           // the key's permissions open it
}

// MayDecide refuses who may not decide: only a holder of the role may, and
// nobody on a call of their own, by whatever they hold.
func (a *Approval) MayDecide(d Decider) error {
	own := fault.New(fault.RoleNotAllowed, "You asked for this yourself: somebody else with the role %s has to decide.", a.Role)
	switch {
	case d.User != "":
		if d.User == a.User {
			return own
		}
		if !slices.Contains(d.Roles, a.Role) {
			return fault.New(fault.RoleNotAllowed, "Whoever decides holds the role %s, and you do not: to administer the tenant is not enough.", a.Role)
		}
		return nil
	case d.Key == nil:
		return fault.New(fault.RoleNotAllowed, "Only people of this tenant with the role %s decide, and keys that they gave the permission to.", a.Role)
	case !d.May:
		return fault.New(fault.RoleNotAllowed, "This key needs the permission %s.", tenants.ApprovalsWrite).WithScope(string(tenants.ApprovalsWrite))
	case d.Key.Author == string(a.User) || strings.EqualFold(d.Key.CreatedBy, a.Email):
		return fault.New(fault.RoleNotAllowed, "This key was made by the person who asked for this. Use one of somebody else's, or decide at the console.")
	case d.Key.Author == "" && strings.HasPrefix(d.Key.CreatedBy, "key "):
		return fault.New(fault.RoleNotAllowed, "It is not known any more who made the key that this key was made with. Make a new one.")
	}
	return nil
}

// Decide answers the question, once. The same answer of the same person again
// changes nothing.
func (a *Approval) Decide(d Decision) error {
	if err := a.MayDecide(d.By); err != nil {
		return err
	}
	state := Denied
	if d.Approve {
		state = Approved
	}
	switch status := a.Status(d.At); {
	case a.State != Pending && a.DecidedBy == d.By.Name && (a.State == Denied) == (state == Denied):
		return nil
	case a.State != Pending:
		verdict := "approved"
		if a.State == Denied {
			verdict = "denied"
		}
		return fault.New(fault.Conflict, "%s has %s this already, and a decision is final.", a.DecidedBy, verdict)
	case status == Expired:
		return fault.New(fault.Conflict, "This has expired. Whoever asked has to ask again.")
	}
	a.State, a.DecidedAt, a.DecidedBy, a.Reason = state, d.At, d.By.Name, d.Reason
	return nil
}
