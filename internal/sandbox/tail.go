package sandbox

import (
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
)

// tail keeps the end of what a process wrote to its standard error. It reads
// on forever, so that the process never stands still for it, but no faster
// than a few megabytes a second: who floods it waits for itself.
type tail struct {
	mu   sync.Mutex
	kept []byte
	done chan struct{}
}

const (
	tailBytes = 8 << 10
	tailChunk = 64 << 10
	tailPause = 20 * time.Millisecond // after a full chunk: 3 MB/s
)

func readTail(r io.ReadCloser) *tail {
	t := &tail{done: make(chan struct{})}
	go func() {
		defer close(t.done)
		defer r.Close()
		for buf := make([]byte, tailChunk); ; {
			n, err := r.Read(buf)
			t.add(buf[:n])
			if err != nil {
				return
			}
			if n == len(buf) {
				time.Sleep(tailPause)
			}
		}
	}()
	return t
}

func (t *tail) add(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept = append(t.kept, p...); len(t.kept) > tailBytes {
		t.kept = append([]byte(nil), t.kept[len(t.kept)-tailBytes:]...)
	}
}

// String is printable: of control characters only line ends and tabs are left.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(printable(string(t.kept)))
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || unicode.IsPrint(r) && r != unicode.ReplacementChar:
			return r
		case r == '\r':
			return -1
		}
		return '·'
	}, strings.ToValidUTF8(s, "·"))
}
