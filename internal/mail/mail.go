// Package mail sends the platform's few letters: short, plain text, to one
// person. SMTP hands them to a mail server; Mailbox keeps them in a folder, for
// development.
//
// It leaves to callers what becomes of a letter that cannot be sent, and it
// queues nothing: who asked is told at once.
package mail

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"mime"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"time"
	"unicode"

	"latchkey/internal/fault"
)

// Message is one letter.
type Message struct {
	To      string // an address
	Name    string // of who gets it, or empty
	Subject string
	Text    string // lines end in \n
}

// encode writes the message as it goes over the wire (RFC 5322). Nothing in it
// can begin another header: addresses are parsed, names and subjects encoded,
// and control characters are in neither.
func (m Message) encode(from netmail.Address, now time.Time) ([]byte, error) {
	to, err := parseAddress(m.To)
	if err != nil {
		return nil, fault.New(fault.InvalidArguments, "%s", err)
	}
	to.Name = oneLine(m.Name)
	_, domain, _ := strings.Cut(from.Address, "@")
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from.String()},
		{"To", to.String()},
		{"Subject", mime.QEncoding.Encode("utf-8", oneLine(m.Subject))},
		{"Date", now.UTC().Format(time.RFC1123Z)},
		{"Message-ID", "<" + strings.ToLower(rand.Text()) + "@" + domain + ">"},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834: nothing answers it by itself
		{"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"},
		{"Content-Transfer-Encoding", "quoted-printable"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	if _, err := q.Write([]byte(m.Text)); err != nil {
		return nil, err
	}
	return b.Bytes(), q.Close()
}

// parseAddress takes an address alone, without a name.
func parseAddress(s string) (netmail.Address, error) {
	a, err := netmail.ParseAddress(s)
	if err != nil || a.Address != s || a.Name != "" || len(s) > 254 || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return netmail.Address{}, fmt.Errorf("%.60q is not an e-mail address: write one such as dana@example.com", s)
	}
	return *a, nil
}

// oneLine makes control characters and runs of space one space.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " ")
}
