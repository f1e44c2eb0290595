package main

import (
	"context"
	"fmt"
	"log/slog"

	"latchkey/internal/api"
	"latchkey/internal/mail"
	"latchkey/internal/operations"
	"latchkey/internal/postgres"
	"latchkey/internal/signin"
	"latchkey/internal/vault"
)

// post is where letters go: to a mail server, into a folder of this machine, or
// nowhere, where links are handed over by hand.
type post struct {
	send interface {
		Send(ctx context.Context, m mail.Message) error
	}
	mailbox *mail.Mailbox
}

// openPost reads the setting; without one, mailbox is a folder for development
// or empty.
func openPost(cfg config, mailbox string) (p post, err error) {
	switch {
	case cfg.MailURL != "":
		sender, err := mail.NewSMTP(cfg.MailURL, cfg.MailCACert)
		if err != nil {
			return p, usageError{fmt.Errorf("LATCHKEY_SMTP_URL: %w", err)}
		}
		p.send = sender
	case mailbox != "":
		if p.mailbox, err = mail.OpenMailbox(mailbox); err != nil {
			return p, err
		}
		p.send = p.mailbox
	}
	return p, nil
}

// peopleOf is the part of the platform API that is about tenants, people, roles
// and access.
func peopleOf(db api.PeopleStore, s *signin.Service, p post, r *operations.Runner) api.People {
	out := api.People{Store: db, EndSessions: s.SignOutEverywhere, Mail: p.send, Queued: r.Wake}
	if p.mailbox != nil {
		out.Mailbox = p.mailbox
	}
	return out
}

// newRunner makes what does this edge's share of long work.
func newRunner(db *postgres.DB, client *vault.Client, log *slog.Logger) *operations.Runner {
	host, port, name := db.Endpoint()
	servers := vault.NewServers(client, vault.Endpoint{Host: host, Port: port, Database: name})
	return operations.New(db, log, operations.DeleteTenant(servers, db), deleteServer(db, client))
}
