package api

import (
	"context"
	"net/url"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/mail"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// defaultInvitation is how long a link is good.
const defaultInvitation = 7 * 24 * time.Hour

func (a *API) invitation(i tenants.Invitation) Invitation {
	return Invitation{
		Id: i.ID, Email: i.Email, Name: i.Name, Roles: texts(i.Roles), Status: InvitationStatus(i.Status(a.Now())), CreatedBy: i.CreatedBy,
		CreatedAt: i.CreatedAt.UTC(), ExpiresAt: i.ExpiresAt.UTC(), AcceptedAt: optionalTime(i.AcceptedAt), Mailed: &i.Mailed,
	}
}

// ListInvitations lists, newest first.
func (a *API) ListInvitations(ctx context.Context, r ListInvitationsRequestObject) (ListInvitationsResponseObject, error) {
	limit := limitOf(r.Params.Limit)
	before, id, err := timeCursor("listInvitations", r.Params.Cursor)
	if err != nil {
		return nil, err
	}
	all, err := a.People.Store.Invitations(ctx, tenantOf(ctx).ID, tenants.InvitationQuery{
		Status: tenants.InvitationStatus(deref(r.Params.Status)), At: a.Now(), BeforeAt: before, BeforeID: id, Limit: limit + 1,
	})
	if err != nil {
		return nil, err
	}
	page, more := cut(all, limit)
	out := InvitationPage{Data: make([]Invitation, 0, len(page)), HasMore: more}
	for _, i := range page {
		out.Data = append(out.Data, a.invitation(i))
	}
	if more {
		last := page[limit-1]
		out.NextCursor = cursor("listInvitations", last.CreatedAt.Format(time.RFC3339Nano), last.ID)
	}
	return ListInvitations200JSONResponse(out), nil
}

// timeCursor reads the cursor of a list that is by time, newest first.
func timeCursor(operation string, c *Cursor) (before time.Time, id string, err error) {
	keys, err := readCursor(operation, c, 2)
	if err != nil || keys == nil {
		return before, "", err
	}
	before, err = time.Parse(time.RFC3339Nano, keys[0])
	if err != nil {
		_, err = readCursor(operation, ptr("-"), 2) // as one that is not of this list
	}
	return before, keys[1], err
}

// GetInvitation shows one.
func (a *API) GetInvitation(ctx context.Context, r GetInvitationRequestObject) (GetInvitationResponseObject, error) {
	i, err := a.People.Store.Invitation(ctx, tenantOf(ctx).ID, r.Invitation)
	if err != nil {
		return nil, err
	}
	return GetInvitation200JSONResponse(a.invitation(i)), nil
}

// CreateInvitation invites a person. The decision is made while no other change
// of the tenant is; the letter goes after that, so that a slow mail server
// keeps nobody waiting.
func (a *API) CreateInvitation(ctx context.Context, r CreateInvitationRequestObject) (CreateInvitationResponseObject, error) {
	t := tenantOf(ctx)
	good := defaultInvitation
	if h := r.Body.ExpiresInHours; h != nil {
		good = time.Duration(*h) * time.Hour
	}
	var i tenants.Invitation
	sent := letter{send: r.Body.Send == nil || *r.Body.Send}
	err := a.Changes.Exclusive(ctx, t.ID, func(ctx context.Context) (err error) {
		if i, sent.token, err = a.newInvitation(ctx, r.Body.Email, deref(r.Body.Name), deref(r.Body.Roles), good); err != nil {
			return err
		}
		if sent.reset, err = a.mayInvite(ctx, &i); err != nil {
			return err
		}
		return a.People.Store.CreateInvitation(ctx, t.ID, i)
	})
	if err != nil {
		return nil, err
	}
	return CreateInvitation201JSONResponse(a.invite(ctx, t, i, sent)), nil
}

// ResendInvitation gives an invitation a new link. Who asks gets to see it, so
// they need the rights of whoever makes one.
func (a *API) ResendInvitation(ctx context.Context, r ResendInvitationRequestObject) (ResendInvitationResponseObject, error) {
	t := tenantOf(ctx)
	var i tenants.Invitation
	sent := letter{send: true}
	err := a.Changes.Exclusive(ctx, t.ID, func(ctx context.Context) (err error) {
		if i, err = a.People.Store.Invitation(ctx, t.ID, r.Invitation); err != nil {
			return err
		}
		if sent.reset, err = a.mayInvite(ctx, &i); err != nil {
			return err
		}
		var hash tenants.TokenHash
		sent.token, hash = tenants.NewInvitationToken()
		i, err = a.People.Store.RenewInvitation(ctx, t.ID, i.ID, hash, invitersRights(ctx), a.Now().Add(defaultInvitation))
		return err
	})
	if err != nil {
		return nil, err
	}
	return ResendInvitation200JSONResponse(a.invite(ctx, t, i, sent)), nil
}

// RevokeInvitation makes a link useless.
func (a *API) RevokeInvitation(ctx context.Context, r RevokeInvitationRequestObject) (RevokeInvitationResponseObject, error) {
	if err := a.People.Store.RevokeInvitation(ctx, tenantOf(ctx).ID, r.Invitation, a.Now()); err != nil {
		return nil, err
	}
	return RevokeInvitation204Response{}, nil
}

// newInvitation makes an invitation that is not stored yet, and the token that
// nobody sees again.
func (a *API) newInvitation(ctx context.Context, email, name string, roles []string, good time.Duration) (i tenants.Invitation, token secret.Text, err error) {
	if email, err = address(email, "/email"); err != nil {
		return i, "", err
	}
	token, hash := tenants.NewInvitationToken()
	now := a.Now()
	return tenants.Invitation{
		ID: tenants.RandomID("iv"), Email: email, Name: name, Roles: roles, May: invitersRights(ctx), CreatedBy: callerOf(ctx).Actor(),
		CreatedAt: now, ExpiresAt: now.Add(good), Token: hash,
	}, token, nil
}

// invitersRights are what the caller can give: an operator, everything.
func invitersRights(ctx context.Context) []tenants.Permission {
	caller := callerOf(ctx)
	if caller.Operator() {
		return []tenants.Permission{tenants.Admin}
	}
	return caller.Permissions
}

// mayInvite decides whether the caller may make this link, which opens the
// roles that it names and, of somebody who is there already, the account. It
// completes the name, and says whether there is such an account.
func (a *API) mayInvite(ctx context.Context, i *tenants.Invitation) (exists bool, err error) {
	t, caller := tenantOf(ctx), callerOf(ctx)
	roles, err := a.People.Store.RoleUses(ctx, t.ID)
	if err != nil {
		return false, err
	}
	if err := knownRoles(roles, i.Roles); err != nil {
		return false, err
	}
	if err := caller.mayGive(openedBy(roles, i.Roles)); err != nil {
		return false, err
	}
	m, err := a.People.Store.Member(ctx, t.ID, i.Email)
	if fault.HasCode(err, fault.NotFound) {
		used, err := a.People.Store.QuotasUsed(ctx, t.ID)
		if err != nil {
			return false, err
		}
		return false, withinQuota("people", used.Members, t.Quotas.Members)
	}
	if err != nil {
		return false, err
	}
	if m.Disabled {
		return false, fault.New(fault.Conflict, "%s is a member whose account is turned off. Turn it on first.", m.Email)
	}
	if i.Name == "" {
		i.Name = m.Name
	}
	return m.HasPassword, caller.mayGive(openedBy(roles, m.Roles))
}

// letter is how a link reaches its person.
type letter struct {
	token secret.Text
	send  bool
	reset bool // they have a password already
}

// invite answers with the link, and sends it where that is asked for. A letter
// that cannot be sent does not undo the invitation.
func (a *API) invite(ctx context.Context, t tenants.Tenant, i tenants.Invitation, l letter) InvitationCreated {
	link := a.Sites.Base(t.Slug) + "/invitation?token=" + url.QueryEscape(l.token.Reveal())
	out := InvitationCreated{Url: link}
	switch {
	case !l.send:
	case a.People.Mail == nil:
		out.MailError = ptr("No mail server is set on this platform. Hand the link over yourself.")
	default:
		err := a.People.Mail.Send(ctx, mail.Invitation{
			To: i.Email, Name: i.Name, Tenant: t.Name, InvitedBy: i.CreatedBy, Link: link, Expires: i.ExpiresAt, Reset: l.reset,
		}.Message())
		if err == nil {
			i.Mailed = true
			err = a.People.Store.NoteInvitationMailed(ctx, t.ID, i.ID)
		}
		if err != nil {
			a.Log.WarnContext(ctx, "invitation not mailed", "tenant", t.ID, "invitation", i.ID, "error", err)
		}
		if err != nil && !i.Mailed {
			out.MailError = ptr(fault.Of(err).Message)
		}
	}
	out.Invitation = a.invitation(i)
	return out
}
