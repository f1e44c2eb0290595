package mail

import (
	"fmt"
	"strings"
	"time"

	"latchkey/internal/pages"
)

// Invitation is what stands in the letter that brings a person in.
type Invitation struct {
	To, Name  string
	Tenant    string // its name
	InvitedBy string
	Link      string
	Expires   time.Time
	Reset     bool // they have a password already, and this is the way to another
}

// Message writes the letter. Names are others' words: they are cut, and hold no
// line of their own, so that none of them can pass for the letter itself.
func (i Invitation) Message() Message {
	tenant, by := pages.Text(i.Tenant, 80), pages.Text(i.InvitedBy, 80)
	m := Message{To: i.To, Name: pages.Text(i.Name, 80), Subject: "Join " + tenant + " on Latchkey"}
	what := fmt.Sprintf("%s invites you to %s. Open this link to choose a password and sign in:", by, tenant)
	if i.Reset {
		m.Subject = "A new password for " + tenant + " on Latchkey"
		what = fmt.Sprintf("%s sends you this link, with which you can choose a new password for %s:", by, tenant)
	}
	m.Text = strings.Join([]string{
		"Hello,", "", what, "", "  " + i.Link, "",
		fmt.Sprintf("The link works once, until %s. Whoever has it can sign in as you: do not pass it on.", i.Expires.UTC().Format("2 January 2006, 15:04 MST")), "",
		"If you did not expect this, do nothing.", "", "Latchkey", "",
	}, "\n")
	return m
}
