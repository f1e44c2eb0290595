package stdiotool

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

var errEnd = errors.New("end")

// through gives what is left of an output, and what was left out.
func through(t testing.TB, r io.Reader, max int) (kept, strange []string) {
	t.Helper()
	l := newLines(r, max, func(line []byte) { strange = append(strange, strings.TrimSpace(string(line))) }, func() error { return errEnd })
	out, err := io.ReadAll(l)
	if !errors.Is(err, errEnd) {
		t.Fatalf("error is %v", err)
	}
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		kept = append(kept, s.Text())
	}
	return kept, strange
}

func TestOnlyMessagesPass(t *testing.T) {
	const answer, note, ask = `{"jsonrpc":"2.0","id":1,"result":{}}`, `{"method":"notifications/x","jsonrpc":"2.0"}`, ` {"jsonrpc":"2.0","id":"a","method":"ping"}`
	in := strings.Join([]string{"Server ready!", answer, "", `{"level":30}`, note, "[1,2]", `{"jsonrpc":"2.0"}`, `{"jsonrpc":"1.0","id":1,"result":1}`, ask, "\x00\xff", answer + " trailing", "null"}, "\n") + "\n" + `{"jsonrpc":"2.0","id":2,"res`
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(in), "by bytes": iotest.OneByteReader(strings.NewReader(in)), "CRLF": strings.NewReader(strings.ReplaceAll(in, "\n", "\r\n"))} {
		kept, strange := through(t, r, 1000)
		if len(kept) != 3 || kept[0] != answer || kept[1] != note || kept[2] != ask {
			t.Errorf("%s: kept %q", name, kept)
		}
		if len(strange) != 8 {
			t.Errorf("%s: left out %q", name, strange)
		}
	}
}

// A call whose answer is too long is answered all the same, and others go on.
func TestTooLongAnswerIsAnError(t *testing.T) {
	const max = 200 << 10
	long := strings.Repeat("x", 3*max)
	next := `{"jsonrpc":"2.0","id":9,"result":{}}`
	for name, tc := range map[string]struct{ line, id string }{
		"id first":       {`{"jsonrpc":"2.0","id":41,"result":{"t":"` + long + `"}}`, "41"},
		"id last":        {`{"result":{"t":"` + long + `"},"jsonrpc":"2.0","id":42}`, "42"},
		"id is a text":   {`{"result":{"t":"` + long + `"},"jsonrpc":"2.0","id":"lk-7"}`, `"lk-7"`},
		"a notification": {`{"jsonrpc":"2.0","method":"notifications/x","params":{"t":"` + long + `"}}`, ""},
		"no message":     {long, ""},
	} {
		kept, strange := through(t, strings.NewReader(tc.line+"\n"+next+"\n"), max)
		if tc.id == "" {
			if len(kept) != 1 || kept[0] != next || len(strange) != 1 || len(strange[0]) > max {
				t.Errorf("%s: kept %d lines", name, len(kept))
			}
			continue
		}
		var m struct {
			ID    json.RawMessage
			Error struct{ Message string }
		}
		if len(kept) != 2 || json.Unmarshal([]byte(kept[0]), &m) != nil || string(m.ID) != tc.id || !strings.Contains(m.Error.Message, "Ask for less") || kept[1] != next {
			t.Errorf("%s: kept %.300q", name, kept)
		}
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("hello\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n"), 64)
	f.Add([]byte(`{"result":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","jsonrpc":"2.0","id":7}`+"\n"), 16)
	f.Fuzz(func(t *testing.T, in []byte, max int) {
		max = 16 + (max&0xffff)%4096
		kept, _ := through(t, bytes.NewReader(in), max)
		for _, line := range kept {
			if !message([]byte(line)) {
				t.Errorf("passed %q", line)
			}
		}
	})
}
