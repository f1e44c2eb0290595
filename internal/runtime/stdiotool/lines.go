package stdiotool

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
)

// maxLine bounds one message of a server. A worker's results are smaller.
const maxLine = 12 << 20

// lines reads a server's standard output and gives only what is a message of
// JSON-RPC, a line each. Servers print banners and logs there, against the
// protocol: one such line must not end all calls.
type lines struct {
	from    *bufio.Reader
	max     int
	strange func(line []byte) // is told of what was left out; it may keep nothing of it
	atEnd   func() error      // what the end of the output means; it may wait
	left    []byte            // of the line that is being given
}

func newLines(r io.Reader, max int, strange func([]byte), atEnd func() error) *lines {
	return &lines{from: bufio.NewReaderSize(r, 64<<10), max: max, strange: strange, atEnd: atEnd}
}

func (l *lines) Read(p []byte) (int, error) {
	for len(l.left) == 0 {
		line, err := l.line()
		switch {
		case err != nil:
			return 0, l.atEnd()
		case message(line):
			l.left = line
		case len(bytes.TrimSpace(line)) > 0:
			l.strange(line)
		}
	}
	n := copy(p, l.left)
	l.left = l.left[n:]
	return n, nil
}

// line is the next one, with its end. One that is too long becomes the answer
// that says so, if it was an answer.
func (l *lines) line() ([]byte, error) {
	var whole []byte
	for {
		part, err := l.from.ReadSlice('\n')
		if len(whole)+len(part) > l.max {
			return l.tooLong(append(whole, part[:min(len(part), edge)]...), part, err)
		}
		whole = append(whole, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return nil, err // half a line is none
		}
		return whole, nil
	}
}

// edge is how much of each end of a line is looked at for its id.
const edge = 256

var (
	idAtStart = regexp.MustCompile(`^\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d{1,15}|"[^"\\]{1,64}")\s*,`)
	idAtEnd   = regexp.MustCompile(`,\s*"id"\s*:\s*(\d{1,15}|"[^"\\]{1,64}")\s*\}?\s*$`)
)

// tooLong reads on to the line's end, and keeps nothing but its two ends.
func (l *lines) tooLong(head, part []byte, err error) ([]byte, error) {
	tail := lastOf(nil, part)
	for err == bufio.ErrBufferFull {
		part, err = l.from.ReadSlice('\n')
		tail = lastOf(tail, part)
	}
	if err != nil {
		return nil, err
	}
	head = head[:min(len(head), edge)]
	id := idAtStart.FindSubmatch(head)
	if id == nil {
		id = idAtEnd.FindSubmatch(tail)
	}
	if id == nil || bytes.Contains(head, []byte(`"method"`)) {
		return head, nil // which is no message
	}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32603,"message":"The server's answer has more than %d MB. Ask for less at a time."}}`+"\n", id[1], l.max>>20), nil
}

func lastOf(tail, part []byte) []byte {
	tail = append(tail, part...)
	return append([]byte(nil), tail[max(0, len(tail)-edge):]...)
}

// message reports whether a line is one of JSON-RPC.
func message(line []byte) bool {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' {
		return false
	}
	var m struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  *string         `json:"method"`
	}
	return json.Unmarshal(line, &m) == nil && m.JSONRPC == "2.0" && (m.Method != nil || len(m.ID) > 0)
}
