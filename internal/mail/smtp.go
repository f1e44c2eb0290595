package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"net/url"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
)

const (
	dialTimeout = 10 * time.Second
	sendTimeout = 30 * time.Second // of a whole letter
)

// SMTP hands letters to one mail server. It opens a connection for each:
// letters are few, and a connection that idles is one that is dead when needed.
type SMTP struct {
	host, port string
	implicit   bool // TLS from the first byte, not by STARTTLS
	user       string
	password   secret.Text
	from       netmail.Address
	roots      *x509.CertPool
	dial       func(ctx context.Context, network, address string) (net.Conn, error)
	now        func() time.Time
}

// NewSMTP reads a setting such as
//
//	smtps://user:password@mail.example.com:465?from=Latchkey+<latchkey@example.com>
//
// or smtp://…:587, where STARTTLS is required unless the host is loopback. caCert
// is an authority of the server's own in PEM, or empty.
func NewSMTP(setting secret.Text, caCert []byte) (*SMTP, error) {
	bad := func(why string) (*SMTP, error) {
		return nil, fmt.Errorf("the mail setting cannot be used: %s; it looks like smtps://user:password@mail.example.com:465?from=latchkey@example.com", why)
	}
	u, err := url.Parse(setting.Reveal())
	switch {
	case err != nil: // which may quote the password
		return bad("it is not a URL")
	case u.Scheme != "smtp" && u.Scheme != "smtps":
		return bad("it begins with neither smtp:// nor smtps://")
	case u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.Fragment != "":
		return bad("it must name a host and no path")
	}
	s := &SMTP{
		host: u.Hostname(), port: u.Port(), implicit: u.Scheme == "smtps", user: u.User.Username(),
		dial: (&net.Dialer{Timeout: dialTimeout}).DialContext, now: time.Now,
	}
	if s.port == "" {
		s.port = map[bool]string{true: "465", false: "587"}[s.implicit]
	}
	if p, ok := u.User.Password(); ok {
		s.password = secret.Text(p)
	}
	if (s.user == "") != (s.password == "") {
		return bad("a user needs a password, and a password a user")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(q) != 1 || len(q["from"]) != 1 {
		return bad("it needs ?from= with the address that letters come from, and nothing else")
	}
	from, err := netmail.ParseAddress(q.Get("from"))
	if err != nil {
		return bad("what stands after from= is not an address")
	}
	if _, err := parseAddress(from.Address); err != nil {
		return bad("what stands after from= is not an address")
	}
	s.from = netmail.Address{Name: oneLine(from.Name), Address: from.Address}
	if len(caCert) > 0 {
		s.roots = x509.NewCertPool()
		if !s.roots.AppendCertsFromPEM(caCert) {
			return bad("the certificate authority is not in PEM")
		}
	}
	return s, nil
}

// Send hands the letter over. The error says for an administrator what is in
// the way; the server's own words are its cause.
func (s *SMTP) Send(ctx context.Context, m Message) (err error) {
	defer fault.Wrap(&err, "mail.Send through %s", s.host)
	data, err := m.encode(s.from, s.now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	client, err := s.connect(ctx)
	if err != nil {
		return s.explain(ctx, err)
	}
	defer client.Close()
	return s.explain(ctx, s.deliver(client, m.To, data))
}

func (s *SMTP) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: s.host, RootCAs: s.roots, MinVersion: tls.VersionTLS12}
}

// connect opens a connection that is private, and signed in where there is a
// user. It ends with ctx.
func (s *SMTP) connect(ctx context.Context) (_ *smtp.Client, err error) {
	conn, err := s.dial(ctx, "tcp", net.JoinHostPort(s.host, s.port))
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	if s.implicit {
		conn = tls.Client(conn, s.tlsConfig())
	}
	client, err := smtp.NewClient(conn, s.host)
	if err != nil {
		return nil, err
	}
	_, domain, _ := cutLast(s.from.Address, '@')
	if err := client.Hello(domain); err != nil {
		return nil, err
	}
	if !s.implicit {
		if offered, _ := client.Extension("STARTTLS"); offered {
			err = client.StartTLS(s.tlsConfig())
		} else if !loopback(s.host) {
			err = errNoTLS
		}
		if err != nil {
			return nil, err
		}
	}
	if s.user == "" {
		return client, nil
	}
	return client, client.Auth(smtp.PlainAuth("", s.user, s.password.Reveal(), s.host))
}

var errNoTLS = errors.New("the server offers no STARTTLS")

// refusedError is the server's no to the address of who gets the letter.
type refusedError struct{ cause error }

func (e refusedError) Error() string { return e.cause.Error() }
func (e refusedError) Unwrap() error { return e.cause }

func (s *SMTP) deliver(client *smtp.Client, to string, data []byte) error {
	if err := client.Mail(s.from.Address); err != nil {
		return err
	}
	if err := client.Rcpt(to); err != nil {
		var reply *textproto.Error
		if errors.As(err, &reply) && reply.Code >= 500 {
			return refusedError{err}
		}
		return err
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = client.Quit() // the server has taken the letter, whatever it says now
	return nil
}

func (s *SMTP) explain(ctx context.Context, err error) error {
	var refused refusedError
	var reply *textproto.Error
	var unknown x509.UnknownAuthorityError
	var certificate *tls.CertificateVerificationError
	say := func(format string, args ...any) error {
		return fault.New(fault.UpstreamAway, format, args...).Because(err)
	}
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return fault.New(fault.InvalidArguments, "The mail server does not take this address. Correct it.").Because(err)
	case errors.Is(err, errNoTLS):
		return say("The mail server offers no encryption, and nothing was sent. Whoever runs the platform must set one that does.")
	case errors.As(err, &unknown), errors.As(err, &certificate):
		return say("The mail server's certificate is not trusted, and nothing was sent. Whoever runs the platform must correct the mail setting.")
	case errors.As(err, &reply) && reply.Code >= 530 && reply.Code <= 538:
		return say("The mail server does not accept the platform's account. Whoever runs the platform must correct the mail setting.")
	case ctx.Err() != nil:
		return say("The mail server does not answer. Try again in a few minutes.")
	}
	return say("The mail server cannot be reached or does not take mail at the moment. Try again in a few minutes.")
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func cutLast(s string, sep byte) (before, after string, found bool) {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == sep {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
