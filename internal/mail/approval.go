package mail

import (
	"fmt"
	"strings"
	"time"

	"latchkey/internal/pages"
)

// ApprovalRequest is what stands in the letter to somebody who may approve a
// call. What the call has in it stays out: the letter says where to look.
type ApprovalRequest struct {
	To, Name string
	Tenant   string // its name
	By       string // who made the call
	Tool     string
	Role     string // for which they get this
	Link     string
	Expires  time.Time
}

// Message writes the letter, by the rules of Invitation.
func (r ApprovalRequest) Message() Message {
	tenant, by, tool := pages.Text(r.Tenant, 80), pages.Text(r.By, 80), pages.Text(r.Tool, 128)
	return Message{
		To: r.To, Name: pages.Text(r.Name, 80), Subject: "A call of " + tool + " waits for you at " + tenant,
		Text: strings.Join([]string{
			"Hello,", "", fmt.Sprintf("%s wants to call %s at %s, and somebody with the role %s has to agree. See what it would do, and decide:", by, tool, tenant, pages.Text(r.Role, 40)), "",
			"  " + r.Link, "", fmt.Sprintf("It waits until %s.", r.Expires.UTC().Format("2 January 2006, 15:04 MST")), "", "Latchkey", "",
		}, "\n"),
	}
}
