package mcpgateway

import (
	"context"
	"log/slog"
	"time"

	"latchkey/internal/approvals"
	"latchkey/internal/mail"
	"latchkey/internal/tenants"
)

// letters tell those who may decide that something waits for them. Nobody waits
// for a letter, and one that cannot be sent is only logged: the approval stands
// in the console.
type letters struct {
	store ApprovalStore
	mail  interface {
		Send(ctx context.Context, m mail.Message) error
	}
	link  func(t tenants.Tenant) string
	log   *slog.Logger
	slots chan struct{}
}

const (
	letterSlots = 4
	letterTime  = time.Minute // for all of one approval
)

func newLetters(cfg *Config) *letters {
	return &letters{
		store: cfg.Approvals, mail: cfg.Mail, log: cfg.Log, slots: make(chan struct{}, letterSlots),
		link: func(t tenants.Tenant) string { return cfg.Sites.Base(t.Slug) + "/admin/approvals" },
	}
}

// tell writes to the holders of the role. With all slots taken it does not: a
// mail server that hangs holds up nothing.
func (l *letters) tell(t tenants.Tenant, a approvals.Approval) {
	if l.mail == nil {
		return
	}
	select {
	case l.slots <- struct{}{}:
	default:
		l.log.Warn("approval not mailed: the mail server is slow", "tenant", t.ID, "approval", a.ID)
		return
	}
	go func() {
		defer func() { <-l.slots }()
		ctx, cancel := context.WithTimeout(context.Background(), letterTime)
		defer cancel()
		people, err := l.store.ApproversToTell(ctx, t.ID, a, time.Now())
		for _, u := range people {
			if err == nil {
				err = l.mail.Send(ctx, mail.ApprovalRequest{To: u.Email, Name: u.Name, Tenant: t.Name, By: a.Email, Tool: a.Tool, Role: a.Role, Link: l.link(t), Expires: a.ExpiresAt}.Message())
			}
		}
		if err != nil {
			l.log.Warn("approval not mailed", "tenant", t.ID, "approval", a.ID, "error", err)
		}
	}()
}
