package sqltool

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/testenv"
)

// probe probes a server whose connection is that of a real database but for what
// is replaced.
func probe(t *testing.T, replace ...string) error {
	t.Helper()
	p := testenv.Postgres(t)
	text := strings.NewReplacer(replace...).Replace(fmt.Sprintf(
		`{"host":%q,"port":%d,"database":"postgres","sslmode":"disable","admin_user":"x","read_groups":["r"],"credentials":{"ttl":60000000000,"connections":1}}`, p.Host(), p.Port()))
	in, err := open(t.Context(), runtime.Opening{Server: "svaaaaaaaaaaaaaaaaaa", Spec: json.RawMessage(`{"tools":[]}`), Connection: json.RawMessage(text)}, runtime.Host{})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	_, err = in.(runtime.Prober).Probe(t.Context(), &runtime.Call{}, runtime.Env{})
	return err
}

// A probe shows whether the database takes connections, without a credential
// and without a session.
func TestProbeNeedsNoCredential(t *testing.T) {
	if err := probe(t); err != nil {
		t.Error(err)
	}
	if err := probe(t, `"sslmode":"disable"`, `"sslmode":"require"`); !fault.HasCode(err, fault.UpstreamAway) {
		t.Errorf("a server without TLS, which has to have it: %v", err)
	}
}

func TestProbeOfADatabaseThatIsNotThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	ln.Close()
	p := testenv.Postgres(t)
	err = probe(t, p.Host(), "127.0.0.1", fmt.Sprint(`"port":`, p.Port()), fmt.Sprint(`"port":`, port))
	if !fault.HasCode(err, fault.UpstreamAway) || strings.Contains(fault.Of(err).Message, "127.0.0.1") {
		t.Errorf("%v", err)
	}
}

// stranger answers each who connects in its words.
func stranger(t *testing.T, answer []byte) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 1024)
			c.Read(buf)
			c.Write(answer)
			c.Close()
		}
	}()
	return ln.Addr().(*net.TCPAddr).Port
}

func TestProbeReadsWhatAStrangerIsTold(t *testing.T) {
	says := func(code string) []byte {
		b, err := (&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "no"}).Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	p := testenv.Postgres(t)
	for name, c := range map[string]struct {
		answer []byte
		well   bool
	}{
		"starting": {says("57P03"), false}, "full": {says("53300"), false}, "a stranger may not enter": {says("28000"), true},
		"another protocol": {[]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), false}, "nothing": {nil, false}, "a message without end": {[]byte{'R', 0x7f, 0xff, 0xff, 0xff}, false},
	} {
		err := probe(t, p.Host(), "127.0.0.1", fmt.Sprint(`"port":`, p.Port()), fmt.Sprint(`"port":`, stranger(t, c.answer)))
		if (err == nil) != c.well || err != nil && !fault.HasCode(err, fault.UpstreamAway) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
