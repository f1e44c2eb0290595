package sandbox

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/egress"
)

func TestEgressRulesThatOpenTooMuchAreRefused(t *testing.T) {
	for _, bad := range []string{
		"", "example.com", "example.com:", ":443", "*:443", "*.com:443", "*.*.example.com:443", "a.*.com:443", "example.com:0", "example.com:65536", "example.com:0443",
		"example.com:https", "http://example.com:443", "exa mple.com:443", "example.com/x:443", "-a.com:443", "a..com:443", "*.1.2.3.4:443", "[fe80::1%eth0]:443",
		"example.com\n:443", strings.Repeat("a.", 200) + "com:443", "*.example.com:*",
	} {
		if r, err := parseRule(bad); err == nil {
			t.Errorf("%q was taken as %+v", bad, r)
		}
	}
	if err := CheckEgress(make([]string, 101)); err == nil {
		t.Error("a list of 101 was taken")
	}
}

func TestEgressRuleAllowsNoOther(t *testing.T) {
	for _, c := range []struct {
		rule, host, port string
		want             bool
	}{
		{"api.example.com:443", "api.example.com", "443", true}, {"API.Example.com:443", "api.example.com", "443", true},
		{"api.example.com:443", "api.example.com", "80", false}, {"api.example.com:443", "x.api.example.com", "443", false},
		{"api.example.com:443", "api.example.com.evil.com", "443", false}, {"*.example.com:443", "a.example.com", "443", true},
		{"*.example.com:443", "a.b.example.com", "443", true}, {"*.example.com:443", "example.com", "443", false},
		{"*.example.com:443", "evilexample.com", "443", false}, {"*.example.com:443", ".example.com", "443", true},
		{"1.2.3.4:443", "1.2.3.4", "443", true}, {"[2001:DB8::1]:443", "2001:db8::1", "443", true},
	} {
		r, err := parseRule(c.rule)
		if err != nil {
			t.Errorf("%s: %v", c.rule, err)
		} else if got := r.allows(c.host, c.port); got != c.want {
			t.Errorf("%s allows %s:%s: %v", c.rule, c.host, c.port, got)
		}
	}
}

// gateOn serves one connection's requests without a socket.
func gateOn(t *testing.T, list ...string) (dial func() net.Conn, dialled func() []string) {
	t.Helper()
	var mu sync.Mutex
	var to []string
	l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	policy := &egress.Policy{
		Lookup: func(_ context.Context, host string) ([]netip.Addr, error) {
			if host == "private.test" {
				return []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("10.0.0.1")}, nil
			}
			return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
		},
		Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			to = append(to, address)
			return nil, errors.New("far away")
		},
	}
	g, err := openGate(l, list, policy, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return func() net.Conn {
		ours, theirs := net.Pipe()
		l.conns <- theirs
		t.Cleanup(func() { ours.Close() })
		return ours
	}, func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(to) }
}

type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

func ask(t *testing.T, conn net.Conn, request string) (status int, body string) {
	t.Helper()
	go io.WriteString(conn, request)
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

func TestGateRefusesWhatIsNotListed(t *testing.T) {
	dial, dialled := gateOn(t, "ok.test:443", "private.test:443", "ok.test:80")
	for request, want := range map[string]int{
		"CONNECT other.test:443 HTTP/1.1\r\nHost: ok.test:443\r\n\r\n":     403, // what counts is where it connects
		"CONNECT private.test:443 HTTP/1.1\r\nHost: x\r\n\r\n":             403,
		"CONNECT ok.test:443 HTTP/1.1\r\nHost: x\r\n\r\n":                  502, // let through, and far away
		"CONNECT ok.test HTTP/1.1\r\nHost: ok.test:443\r\n\r\n":            400,
		"GET http://ok.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n":         502,
		"GET http://other.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n":         403,
		"GET https://ok.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n":           400,
		"GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n":                          400,
		"GET http://ok.test@other.test/ HTTP/1.1\r\nHost: ok.test\r\n\r\n": 403,
		"nonsense\r\n\r\n": 400,
	} {
		if got, body := ask(t, dial(), request); got != want || len(body) > 300 {
			t.Errorf("%q: %d %q, and not %d", request, got, body, want)
		}
	}
	for _, address := range dialled() {
		if address != "8.8.8.8:443" && address != "8.8.8.8:80" {
			t.Errorf("dialled %s", address)
		}
	}
}

// FuzzGate sends a gate whatever, and it must never dial what is not listed.
func FuzzGate(f *testing.F) {
	for _, s := range []string{"CONNECT ok.test:443 HTTP/1.1\r\n\r\n", "GET http://ok.test/ HTTP/1.0\r\n\r\n", "CONNECT [::1]:443 HTTP/1.1\r\n\r\n", "POST http://x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		dial, dialled := gateOn(t, "ok.test:443")
		conn := dial()
		go func() {
			conn.Write(b)
			conn.Close()
		}()
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		io.Copy(io.Discard, conn)
		for _, address := range dialled() {
			if address != "8.8.8.8:443" {
				t.Errorf("dialled %s for %q", address, b)
			}
		}
	})
}

func FuzzParseRule(f *testing.F) {
	for _, s := range []string{"example.com:443", "*.example.com:443", "1.2.3.4:80", "[::1]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseRule(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(r.host, "*/ \n") || r.host == "" || r.below && !strings.Contains(r.host, ".") || r.allows("evil.test", r.port) && r.host != "evil.test" && r.host != "test" {
			t.Errorf("%q became %+v", s, r)
		}
	})
}
