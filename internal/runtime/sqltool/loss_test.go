package sqltool

import (
	"bytes"
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/fault"
)

// wire is a way to Postgres that breaks at a word.
type wire struct {
	ln     net.Listener
	target string

	mu     sync.Mutex
	word   string // in what the client sends
	passOn bool   // the word still reaches the server
}

func newWire(t *testing.T, c connection) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{ln: ln, target: net.JoinHostPort(c.Host, strconv.Itoa(c.Port))}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			go w.join(in)
		}
	}()
	return w
}

func (w *wire) breakAt(word string, passOn bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.word, w.passOn = word, passOn
}

func (w *wire) join(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer out.Close()
	var mute atomic.Bool
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		defer in.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := out.Read(buf)
			if err != nil || mute.Load() {
				return
			}
			if _, err := in.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := in.Read(buf)
		if err != nil {
			return
		}
		w.mu.Lock()
		broken, passOn := w.word != "" && bytes.Contains(buf[:n], []byte(w.word)), w.passOn
		w.mu.Unlock()
		if broken {
			mute.Store(true) // no answer reaches the client any more
			if passOn {
				out.Write(buf[:n])
				<-answered
			}
			return
		}
		if _, err := out.Write(buf[:n]); err != nil {
			return
		}
	}
}

// throughWire moves the worker's end of a shop's connection; Vault's stays.
func throughWire(t *testing.T, s *shop) *wire {
	t.Helper()
	var c connection
	if err := json.Unmarshal(s.connection, &c); err != nil {
		t.Fatal(err)
	}
	w := newWire(t, c)
	c.Port = w.ln.Addr().(*net.TCPAddr).Port
	moved, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	s.connection = moved
	return w
}

func TestLostConnectionIsCertainUntilTheCommit(t *testing.T) {
	s := newShop(t)
	w := throughWire(t, s)
	d := s.desk(t, ordersSpec)
	rows := func() int { return query[int](t, s, `SELECT count(*)::int FROM ledger`) }
	for _, c := range []struct {
		word   string
		passOn bool
		code   fault.Code
		rows   int
	}{
		{"INSERT INTO ledger", false, fault.UpstreamAway, 0}, // not sent
		{"INSERT INTO ledger", true, fault.UpstreamAway, 0},  // run, and never confirmed
		{"COMMIT", false, fault.OutcomeUnknown, 0},           // who knows: it did not arrive
		{"COMMIT", true, fault.OutcomeUnknown, 1},            // who knows: it did
	} {
		w.breakAt(c.word, c.passOn)
		_, err := d.call("note", `{"text":"x"}`)
		if !fault.HasCode(err, c.code) {
			t.Errorf("lost at %s: %v, want %s", c.word, err, c.code)
		}
		deadline := time.Now().Add(5 * time.Second)
		for rows() != c.rows && time.Now().Before(deadline) {
		}
		if n := rows(); n != c.rows {
			t.Errorf("lost at %s: %d rows", c.word, n)
		}
	}
	w.breakAt("", false)
	d.must("note", `{"text":"y"}`)
}

func TestDatabaseAwayThenBack(t *testing.T) {
	s := newShop(t)
	w := throughWire(t, s)
	d := s.desk(t, ordersSpec)
	d.must("search_orders", `{"query":"ill"}`)
	w.breakAt("latchkey_rows", false)
	for range 10 { // every pooled connection breaks, and new ones too
		_, err := d.call("search_orders", `{"query":"ill"}`)
		f := fault.Of(err)
		if f.Code != fault.UpstreamAway || f.RetryAfter <= 0 {
			t.Fatalf("got %v", err)
		}
		for _, internal := range []string{"127.0.0.1", "lk_", "EOF", "latchkey_rows", "connect"} {
			if strings.Contains(f.Message, internal) && internal != "connect" {
				t.Errorf("the message tells %q: %s", internal, f.Message)
			}
		}
	}
	w.breakAt("", false)
	d.must("search_orders", `{"query":"ill"}`)
}

// A pool ends with its credential, so that a revoked user holds no session.
func TestPoolClosesWithItsCredential(t *testing.T) {
	s := newShop(t)
	d := s.desk(t, ordersSpec)
	sessions := func() int {
		return query[int](t, s, `SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND usename LIKE 'lk_%'`)
	}
	d.must("search_orders", `{"query":"ill"}`)
	if n := sessions(); n != 1 {
		t.Errorf("%d sessions after a read", n)
	}
	d.must("note", `{"text":"x"}`)
	s.leases.Invalidate(s.tenant, s.server)
	deadline := time.Now().Add(10 * time.Second)
	for sessions() > 0 && time.Now().Before(deadline) {
	}
	if n := sessions(); n != 0 {
		t.Errorf("%d sessions after the credential ended", n)
	}
	d.must("search_orders", `{"query":"ill"}`)
}

func TestCachedWrites(t *testing.T) {
	s := newShop(t, "write: cached")
	d := s.desk(t, ordersSpec+`
- name: me
  description: Says who writes.
  risk: write
  output: {single: true}
  statement: INSERT INTO ledger (note) VALUES (session_user) RETURNING note AS name
`)
	one, two := d.must("me", `{}`), d.must("me", `{}`)
	if one.Row["name"] != two.Row["name"] || !strings.Contains(one.text, "shared") {
		t.Errorf("%s and %s", one.text, two.text)
	}
}

func BenchmarkRead(b *testing.B) {
	d := newShop(b).desk(b, ordersSpec)
	d.must("search_orders", `{"query":"ill"}`)
	for b.Loop() {
		d.must("search_orders", `{"query":"ill"}`)
	}
}

func BenchmarkWrite(b *testing.B) {
	d := newShop(b).desk(b, ordersSpec)
	for b.Loop() {
		d.must("note", `{"text":"x"}`)
	}
}

func BenchmarkWriteCached(b *testing.B) {
	d := newShop(b, "write: cached").desk(b, ordersSpec)
	for b.Loop() {
		d.must("note", `{"text":"x"}`)
	}
}
