package mail

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxKept is how many letters a Mailbox keeps: it is for looking at, not for
// keeping.
const maxKept = 200

// Mailbox writes letters into a folder instead of sending them, as .eml files
// that any mail program opens.
type Mailbox struct {
	dir  string
	from netmail.Address
	now  func() time.Time
	mu   sync.Mutex
}

// OpenMailbox makes the folder, which only its owner can read: letters hold
// links that let people in.
func OpenMailbox(dir string) (*Mailbox, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the mailbox: %w", err)
	}
	return &Mailbox{dir: dir, from: netmail.Address{Name: "Latchkey", Address: "latchkey@localhost"}, now: time.Now}, nil
}

// Send writes the letter.
func (b *Mailbox) Send(_ context.Context, m Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	data, err := m.encode(b.from, now)
	if err != nil {
		return err
	}
	// Names sort by time; a letter is there whole or not at all.
	name := filepath.Join(b.dir, now.UTC().Format("20060102T150405.000000000Z")+"-"+strings.ToLower(rand.Text()[:6]))
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return fmt.Errorf("the mailbox: %w", err)
	}
	if err := os.Rename(name+".new", name+".eml"); err != nil {
		return fmt.Errorf("the mailbox: %w", err)
	}
	names, err := b.names()
	for _, old := range names[min(maxKept, len(names)):] {
		_ = os.Remove(old)
	}
	return err
}

// names lists the files, newest first.
func (b *Mailbox) names() ([]string, error) {
	names, err := filepath.Glob(filepath.Join(b.dir, "*.eml"))
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(b, a) })
	return names, err
}

// Received is a letter as it lies in the mailbox.
type Received struct {
	At time.Time
	Message
}

// Letters lists what was written, newest first. What is no letter is left out.
func (b *Mailbox) Letters() ([]Received, error) {
	names, err := b.names()
	if err != nil {
		return nil, err
	}
	var out []Received
	for _, name := range names {
		if r, err := read(name); err == nil {
			out = append(out, r)
		}
	}
	return out, nil
}

func read(name string) (r Received, err error) {
	f, err := os.Open(name)
	if err != nil {
		return r, err
	}
	defer f.Close()
	m, err := netmail.ReadMessage(io.LimitReader(f, 1<<20))
	if err != nil {
		return r, err
	}
	if r.At, err = m.Header.Date(); err != nil {
		return r, err
	}
	to, err := m.Header.AddressList("To")
	if err != nil {
		return r, err
	}
	r.To, r.Name = to[0].Address, to[0].Name
	if r.Subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		return r, err
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	r.Text = strings.ReplaceAll(string(text), "\r\n", "\n")
	return r, err
}
