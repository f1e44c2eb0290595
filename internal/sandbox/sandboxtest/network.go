//go:build linux

package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"

	"latchkey/internal/egress"
	"latchkey/internal/sandbox"
)

// internet answers on this machine for names that do not exist.
func (s *suite) internet() (policy *egress.Policy, plain, tls string) {
	hello := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello %s", r.Host) })
	a, b := httptest.NewServer(hello), httptest.NewTLSServer(hello)
	s.Cleanup(a.Close)
	s.Cleanup(b.Close)
	_, plain, _ = net.SplitHostPort(a.Listener.Addr().String())
	_, tls, _ = net.SplitHostPort(b.Listener.Addr().String())
	lookup := func(_ context.Context, host string) ([]netip.Addr, error) {
		switch {
		case strings.HasSuffix(host, "internal.test"):
			return []netip.Addr{netip.MustParseAddr("10.1.2.3")}, nil
		case strings.HasSuffix(host, ".test"):
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		}
		return nil, errors.New("no such host")
	}
	return &egress.Policy{Allow: egress.Loopback(), Lookup: lookup}, plain, tls
}

func (s *suite) egress() {
	policy, plain, tls := s.internet()
	var log strings.Builder
	s.driver(sandbox.Options{Egress: policy, Log: slog.New(slog.NewTextHandler(&log, nil))})
	fetch := func(list []string, urls ...string) map[string]string {
		s.Helper()
		p := s.start(sandbox.Spec{Argv: sandbox.Attack{Fetch: urls}.Command(), Egress: list})
		got := map[string]string{}
		for _, f := range sandbox.Findings(p) {
			got[f.Try] = f.Said
		}
		if e := s.wait(p); e.Code != 0 {
			s.Errorf("%+v", e)
		}
		return got
	}
	list := []string{"api.test:" + plain, "*.wild.test:" + tls, "internal.test:" + plain, "gone.example:443"}
	for url, want := range fetch(list,
		"http://api.test:"+plain, "https://a.wild.test:"+tls, "https://a.b.wild.test:"+tls, "https://wild.test:"+tls, "http://api.test:"+tls, "http://API.test.:"+plain,
		"http://other.test:"+plain, "https://api.test:"+tls, "http://internal.test:"+plain, "https://gone.example", "http://169.254.169.254/latest",
	) {
		expect := map[string]string{
			"http://api.test:" + plain: "200 hello api.test", "https://a.wild.test:" + tls: "200 hello a.wild.test", "https://a.b.wild.test:" + tls: "200 hello a.b.wild.test",
			"https://wild.test:" + tls: "Forbidden", "http://api.test:" + tls: "403", "http://API.test.:" + plain: "200 hello", "http://other.test:" + plain: "403 other.test",
			"https://api.test:" + tls: "Forbidden", "http://internal.test:" + plain: "403 internal.test is not a public address", "https://gone.example": "Bad Gateway",
			"http://169.254.169.254/latest": "403",
		}[url]
		if expect == "" || !strings.Contains(want, expect) {
			s.Errorf("%s: %q, and not %q", url, want, expect)
		}
	}
	for _, want := range []string{"sv_a", "tn_a", "other.test", "not public"} {
		if !strings.Contains(log.String(), want) {
			s.Errorf("the log does not say %q: %s", want, &log)
		}
	}
	// Past the proxy there is nothing, list or no list.
	p := s.start(sandbox.Spec{Argv: sandbox.Attack{OwnKernel: true, Dial: []string{"127.0.0.1:" + plain}}.Command(), Egress: list})
	for _, f := range sandbox.Findings(p) {
		if f.Rule == "network" && !f.Held {
			s.Errorf("could %s: %s", f.Try, f.Said)
		}
	}
	s.wait(p)
}

func (s *suite) closed() {
	out, e := s.run(sandbox.Spec{Argv: sh("env | grep -i proxy; ls /run/latchkey")})
	if strings.TrimSpace(out) != "helper" || e.Code != 0 {
		s.Errorf("%q, %+v", out, e)
	}
	p := s.start(sandbox.Spec{Argv: sandbox.Attack{Fetch: []string{"http://127.0.0.1:3128/"}}.Command()})
	found := sandbox.Findings(p)
	if len(found) != 1 || !strings.Contains(found[0].Said, "refused") {
		s.Errorf("%v", found)
	}
	s.wait(p)
}
