package mail

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	netmail "net/mail"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
)

// server is a real mail server on loopback. Its name on the certificate is
// mail.example.com, and it knows one account.
type server struct {
	addr string
	ca   []byte // PEM

	mu      sync.Mutex
	letters []letter
}

type letter struct {
	from, to string
	secure   bool
	user     string
	data     []byte
}

const user, password = "platform", "p@ss:word/with?signs"

type mode struct{ implicit, noTLS, noAuth bool }

func serve(t *testing.T, m mode) *server {
	t.Helper()
	s := &server{}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example.com"}, DNSNames: []string{"mail.example.com"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{server: s, conn: c, noAuth: m.noAuth}, nil }))
	srv.Domain, srv.AllowInsecureAuth, srv.ErrorLog = "mail.example.com", true, quiet{}
	if m.implicit {
		ln = tls.NewListener(ln, config)
	} else if !m.noTLS {
		srv.TLSConfig = config
	}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return s
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

type session struct {
	server *server
	conn   *smtp.Conn
	noAuth bool
	letter
}

func (s *session) AuthMechanisms() []string {
	if s.noAuth {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, u, p string) error {
		if u != user || p != password {
			return smtp.ErrAuthFailed
		}
		s.user = u
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	_, s.secure = s.conn.TLSConnectionState()
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	switch {
	case strings.HasPrefix(to, "nobody@"):
		return &smtp.SMTPError{Code: 550, Message: "no such mailbox on store-7.internal"}
	case strings.HasPrefix(to, "later@"):
		return &smtp.SMTPError{Code: 451, Message: "try later"}
	}
	s.to = to
	return nil
}

func (s *session) Data(r io.Reader) (err error) {
	s.data, err = io.ReadAll(r)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.letters = append(s.server.letters, s.letter)
	return err
}

func (s *session) Reset()        { s.letter = letter{user: s.user} }
func (s *session) Logout() error { return nil }

// open makes a sender to mail.example.com whose connections go to the server.
func open(t *testing.T, s *server, scheme, account, query string) *SMTP {
	t.Helper()
	sender, err := NewSMTP(secret.Text(scheme+"://"+account+"mail.example.com?"+query), s.ca)
	if err != nil {
		t.Fatal(err)
	}
	sender.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.addr)
	}
	return sender
}

var (
	account = url.UserPassword(user, password).String() + "@"
	from    = "from=" + url.QueryEscape("Latchkey & Söhne <latchkey@example.com>")
	hello   = Message{To: "dana@example.com", Name: "Dana Ä", Subject: "Grüße", Text: "Hello\n.\nline of a dot, ünicode\n" + strings.Repeat("long ", 100) + "\n"}
)

func TestSendsPrivatelyAndWhole(t *testing.T) {
	for name, scheme := range map[string]string{"TLS": "smtps", "STARTTLS": "smtp"} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, mode{implicit: scheme == "smtps"})
			if err := open(t, s, scheme, account, from).Send(t.Context(), hello); err != nil {
				t.Fatal(err)
			}
			l := s.letters[0]
			if len(s.letters) != 1 || !l.secure || l.user != user || l.from != "latchkey@example.com" || l.to != "dana@example.com" {
				t.Errorf("%+v", l)
			}
			m, err := netmail.ReadMessage(bytes.NewReader(l.data))
			if err != nil {
				t.Fatal(err)
			}
			sender, err := m.Header.AddressList("From")
			if err != nil || sender[0].Name != "Latchkey & Söhne" || m.Header.Get("Auto-Submitted") != "auto-generated" || !strings.HasSuffix(m.Header.Get("Message-ID"), "@example.com>") {
				t.Errorf("%v %v", m.Header, err)
			}
		})
	}
}

func TestLettersAreNotSentInTheClear(t *testing.T) {
	s := serve(t, mode{noTLS: true})
	err := open(t, s, "smtp", account, from).Send(t.Context(), hello)
	if !errors.Is(err, errNoTLS) || !strings.Contains(fault.Of(err).Message, "offers no encryption") || len(s.letters) > 0 {
		t.Errorf("%v, %d letters", err, len(s.letters))
	}
	// On this machine there is nobody between.
	near, err := NewSMTP(secret.Text("smtp://"+account+s.addr+"?"+from), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := near.Send(t.Context(), hello); err != nil || len(s.letters) != 1 {
		t.Errorf("%v, %d letters", err, len(s.letters))
	}
}

func TestAnotherServersCertificateIsRefused(t *testing.T) {
	s, other := serve(t, mode{implicit: true}), serve(t, mode{implicit: true})
	for what, change := range map[string]func(*SMTP){
		"of an authority that is not known": func(m *SMTP) { m.roots = open(t, other, "smtps", "", from).roots },
		"of another name":                   func(m *SMTP) { m.host = "mail.evil.example" },
	} {
		m := open(t, s, "smtps", account, from)
		change(m)
		if err := m.Send(t.Context(), hello); !strings.Contains(fault.Of(err).Message, "certificate is not trusted") || len(s.letters) > 0 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestWhatTheServerRefuses(t *testing.T) {
	s := serve(t, mode{})
	send := func(acct, to string) error {
		return open(t, s, "smtp", acct, from).Send(t.Context(), Message{To: to, Subject: "x", Text: "x"})
	}
	for _, c := range []struct {
		what string
		err  error
		code fault.Code
		says string
	}{
		{"unknown mailbox", send(account, "nobody@example.com"), fault.InvalidArguments, "does not take this address"},
		{"greylisting", send(account, "later@example.com"), fault.UpstreamAway, "Try again"},
		{"wrong password", send("platform:wrong@", "dana@example.com"), fault.UpstreamAway, "does not accept the platform's account"},
	} {
		if !fault.HasCode(c.err, c.code) || !strings.Contains(fault.Of(c.err).Message, c.says) {
			t.Errorf("%s: %v", c.what, c.err)
		}
		if strings.Contains(fault.Of(c.err).Message, "internal") {
			t.Errorf("%s: the server's own words go out: %s", c.what, fault.Of(c.err).Message)
		}
		if c.err != nil && strings.Contains(c.err.Error(), "wrong@") {
			t.Errorf("%s: a password is in the error", c.what)
		}
	}
	if len(s.letters) > 0 {
		t.Errorf("%d letters were taken", len(s.letters))
	}
}

func TestServerThatIsSilentOrAway(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewSMTP(secret.Text("smtp://"+ln.Addr().String()+"?"+from), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := m.Send(ctx, hello); !fault.HasCode(err, fault.UpstreamAway) || !strings.Contains(fault.Of(err).Message, "does not answer") {
		t.Errorf("silent: %v", err)
	}
	ln.Close()
	if err := m.Send(t.Context(), hello); !fault.HasCode(err, fault.UpstreamAway) {
		t.Errorf("away: %v", err)
	}
}

func TestSettings(t *testing.T) {
	for _, good := range []string{"smtps://mail.example.com?from=a@example.com", "smtp://u:p@mail.example.com:2525/?from=a@example.com", "smtp://[::1]:25?from=a@example.com"} {
		if _, err := NewSMTP(secret.Text(good), nil); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "mail.example.com", "http://mail.example.com?from=a@b.c", "smtp://?from=a@b.c", "smtp://m", "smtp://m?from=", "smtp://m?from=a", "smtp://m?from=a@b.c&x=1",
		"smtp://m/path?from=a@b.c", "smtp://hunter2@m?from=a@b.c", "smtp://u:hunter2@m:port?from=a@b.c", "smtp://m?from=a@b.c%0d%0aBcc:x@y.z", "smtp://m?from=a@b.c&from=d@e.f",
	} {
		if _, err := NewSMTP(secret.Text(bad), nil); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := NewSMTP("smtp://m?from=a@b.c", []byte("no PEM")); err == nil {
		t.Error("an authority that is none was taken")
	}
}

// TestHeaderInjectionRefused writes line ends wherever others' words stand.
func TestHeaderInjectionRefused(t *testing.T) {
	const evil = "x\r\nBcc: victim@example.com\r\n\r\n<b>hi</b>"
	addr := netmail.Address{Name: "L", Address: "l@example.com"}
	for _, ends := range []string{"\r\n", "\n", "\r", "\u2028", "\u0085"} {
		words := strings.ReplaceAll(evil, "\r\n", ends)
		data, err := Message{To: "dana@example.com", Name: words, Subject: words, Text: words}.encode(addr, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := bytes.Cut(data, []byte("\r\n\r\n"))
		m, err := netmail.ReadMessage(bytes.NewReader(data))
		if err != nil || len(m.Header) != 9 || m.Header.Get("Bcc") != "" || bytes.Contains(bytes.ReplaceAll(head, []byte("\r\n"), nil), []byte("\n")) {
			t.Errorf("%q: %v\n%s", ends, err, data)
		}
		for _, to := range []string{"dana@example.com" + ends + "Bcc: victim@example.com", ends + "dana@example.com", "\"a" + ends + "b\"@example.com"} {
			if _, err := (Message{To: to}).encode(addr, time.Now()); !fault.HasCode(err, fault.InvalidArguments) {
				t.Errorf("%q: %v", to, err)
			}
		}
	}
	for _, to := range []string{"", "dana", "Dana <dana@example.com>", "a@example.com, b@example.com", "a@example.com b@example.com", "<a@example.com>", "a@b@c", strings.Repeat("x", 250) + "@example.com"} {
		if _, err := (Message{To: to}).encode(addr, time.Now()); !fault.HasCode(err, fault.InvalidArguments) {
			t.Errorf("%q: %v", to, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add("dana@example.com", "Dana", "Subject", "Text\n")
	f.Add("a@b.c\r\nX: y", "\r\n", "\n.\n", ".\n")
	f.Fuzz(func(t *testing.T, to, name, subject, text string) {
		data, err := Message{To: to, Name: name, Subject: subject, Text: text}.encode(netmail.Address{Address: "l@example.com"}, time.Now())
		if err != nil {
			return
		}
		m, err := netmail.ReadMessage(bytes.NewReader(data))
		if err != nil || len(m.Header) != 9 {
			t.Fatalf("%v\n%s", err, data)
		}
		if list, err := m.Header.AddressList("To"); err != nil || len(list) != 1 || list[0].Address != to {
			t.Fatalf("%v %v\n%s", list, err, data)
		}
	})
}

func TestInvitationHasNoLinesOfOthers(t *testing.T) {
	m := Invitation{
		To: "new@example.com", Name: "N", Tenant: "Acme\n\nhttps://evil.example/", InvitedBy: "Dana\u202e\r\nEvil", Link: "https://acme.example.com/invitation?token=abc",
		Expires: time.Date(2026, 5, 4, 3, 2, 0, 0, time.UTC),
	}.Message()
	for line := range strings.Lines(m.Text) {
		if strings.HasPrefix(strings.TrimSpace(line), "https://") && !strings.Contains(line, "acme.example.com/invitation?token=abc") {
			t.Errorf("a line of somebody else: %q", line)
		}
	}
	if !strings.Contains(m.Text, "4 May 2026, 03:02 UTC") || !strings.Contains(m.Text, "Dana[U+202E] Evil invites you to Acme https://evil.example/") || strings.Count(m.Text, "\n") > 14 {
		t.Error(m.Text)
	}
	if reset := (Invitation{Reset: true}).Message(); !strings.Contains(reset.Text, "choose a new password") {
		t.Error(reset.Text)
	}
}

func TestMailbox(t *testing.T) {
	b, err := OpenMailbox(t.TempDir() + "/mail")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	b.now = func() time.Time { at = at.Add(time.Second); return at }
	if ls, err := b.Letters(); err != nil || len(ls) != 0 {
		t.Errorf("%v %v", ls, err)
	}
	for i := range maxKept + 3 {
		m := hello
		m.Subject = fmt.Sprintf("Grüße %d", i)
		if err := b.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	ls, err := b.Letters()
	if err != nil || len(ls) != maxKept {
		t.Fatalf("%d letters, %v", len(ls), err)
	}
	want := hello
	want.Subject = fmt.Sprintf("Grüße %d", maxKept+2)
	if ls[0].Message != want || !ls[0].At.Equal(at) || ls[1].Subject != fmt.Sprintf("Grüße %d", maxKept+1) {
		t.Errorf("%+v", ls[0])
	}
}
