package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// target is one endpoint and the request that is sent to it again and again.
type target struct {
	name, url, token string
	session          bool   // legacy: each caller has a session of its own
	tool, arguments  string // arguments are JSON
	want             string // stands in every good answer
	pids             []int  // of what serves it
}

const (
	modern = "2026-07-28"
	legacy = "2025-11-25"
)

// caller is one keep-alive connection. It does no more than it must, since it
// shares the processors with what it measures: the request is prepared and
// only its id changes.
type caller struct {
	conn    net.Conn
	in      *bufio.Reader
	request []byte
	id      []byte // within request
	want    []byte
	body    []byte
	session string // from the last answer that had one
}

const firstID = "10000000"

func (t target) dial(ctx context.Context) (*caller, error) {
	u, err := url.Parse(t.url)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	c := &caller{conn: conn, in: bufio.NewReaderSize(conn, 16<<10)}
	if t.session {
		err = c.open(t, u)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	params := `{"name":"` + t.tool + `","arguments":` + t.arguments
	headers := "Mcp-Session-Id: " + c.session + "\r\n"
	version := legacy
	if !t.session {
		version = modern
		params += `,"_meta":{"io.modelcontextprotocol/protocolVersion":"` + modern + `","io.modelcontextprotocol/clientCapabilities":{}}`
		headers = "Mcp-Method: tools/call\r\nMcp-Name: " + t.tool + "\r\n"
	}
	c.prepare(t, u, version, headers, `{"jsonrpc":"2.0","id":`+firstID+`,"method":"tools/call","params":`+params+`}}`)
	c.want = []byte(t.want)
	return c, nil
}

// open makes the caller's session.
func (c *caller) open(t target, u *url.URL) error {
	c.prepare(t, u, legacy, "", `{"jsonrpc":"2.0","id":`+firstID+`,"method":"initialize","params":{"protocolVersion":"`+legacy+`","capabilities":{},"clientInfo":{"name":"bench","version":"1"}}}`)
	c.want = []byte("serverInfo")
	if err := c.call(); err != nil {
		return err
	}
	if c.session == "" {
		return errors.New("initialize gave no session")
	}
	c.prepare(t, u, legacy, "Mcp-Session-Id: "+c.session+"\r\n", `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	c.want = nil
	return c.call()
}

func (c *caller) prepare(t target, u *url.URL, version, headers, body string) {
	head := "POST " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\nContent-Type: application/json\r\n" +
		"Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: " + version + "\r\n" + headers
	if t.token != "" {
		head += "Authorization: Bearer " + t.token + "\r\n"
	}
	c.request = []byte(head + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	c.id = nil
	if i := bytes.Index(c.request, []byte(`"id":`+firstID)); i >= 0 {
		c.id = c.request[i+5 : i+5+len(firstID)]
	}
}

// call sends the request once and checks the answer.
func (c *caller) call() error {
	for i := len(c.id) - 1; i >= 0; i-- {
		if c.id[i]++; c.id[i] <= '9' {
			break
		}
		c.id[i] = '0'
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	status, err := c.answer()
	if err != nil {
		return err
	}
	if status/100 != 2 || c.want != nil && (!bytes.Contains(c.body, c.want) || !bytes.Contains(c.body, c.id)) || bytes.Contains(c.body, []byte(`"isError":true`)) {
		return wrongAnswer(fmt.Sprintf("%d %.400s", status, c.body))
	}
	return nil
}

// wrongAnswer is an answer that says something else than it should.
type wrongAnswer string

func (w wrongAnswer) Error() string { return string(w) }

// answer reads one HTTP answer into body.
func (c *caller) answer() (status int, err error) {
	c.body = c.body[:0]
	length, chunked := 0, false
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first {
			if len(line) < 12 {
				return 0, fmt.Errorf("answer begins with %q", line)
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, err
			}
			continue
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		case bytes.EqualFold(name, []byte("Mcp-Session-Id")):
			if c.session == "" {
				c.session = string(value)
			}
		}
	}
	if !chunked {
		return status, c.take(length)
	}
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 32)
		if err != nil {
			return 0, err
		}
		if err := c.take(int(n)); err != nil {
			return 0, err
		}
		if _, err := c.in.Discard(2); err != nil {
			return 0, err
		}
		if n == 0 {
			return status, nil
		}
	}
}

func (c *caller) take(n int) error {
	at := len(c.body)
	c.body = slices.Grow(c.body, n)[:at+n]
	_, err := io.ReadFull(c.in, c.body[at:])
	return err
}

// sample is what one measurement gave.
type sample struct {
	rate     float64 // calls a second
	p50, p99 time.Duration
	cpu      time.Duration // of all that serves it, for one call
	wrong    []string      // answers; a machine that stands still for half a second makes some
}

// warmUp is not measured: connections open, caches fill, processors wake.
const warmUp = 300 * time.Millisecond

// maxWrong is how many wrong answers one measurement may have.
const maxWrong = 3

// load has callers call as fast as they are answered.
func load(ctx context.Context, t target, callers int, d time.Duration) (sample, error) {
	var (
		calls atomic.Int64 // those of the warm-up too
		mu    sync.Mutex
		wrong []string
	)
	before := processors(t.pids...)
	s, err := drive(callers, d, func(int) (func() error, func(), error) {
		c, err := t.dial(ctx)
		if err != nil {
			return nil, nil, err
		}
		call := func() error {
			calls.Add(1)
			err := c.call()
			var w wrongAnswer
			if !errors.As(err, &w) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if wrong = append(wrong, w.Error()); len(wrong) > maxWrong {
				return err
			}
			return nil
		}
		return call, func() { c.conn.Close() }, nil
	})
	s.wrong = wrong
	if n := calls.Load(); n > 0 {
		s.cpu = (processors(t.pids...) - before) / time.Duration(n)
	}
	return s, err
}

// drive runs one operation in a loop from several goroutines. prepare makes
// each one's operation and what to do after it.
func drive(callers int, d time.Duration, prepare func(i int) (op func() error, end func(), err error)) (sample, error) {
	ops := make([]func() error, callers)
	for i := range ops {
		op, end, err := prepare(i)
		if err != nil {
			return sample{}, err
		}
		if end != nil {
			defer end()
		}
		ops[i] = op
	}
	var (
		mu     sync.Mutex
		all    []time.Duration
		failed error
		stop   atomic.Bool
		wg     sync.WaitGroup
	)
	began := time.Now()
	from := began.Add(warmUp)
	for _, op := range ops {
		wg.Go(func() {
			took := make([]time.Duration, 0, 1<<14)
			var err error
			for !stop.Load() && err == nil {
				at := time.Now()
				if err = op(); at.After(from) {
					took = append(took, time.Since(at))
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
			failed = errors.Join(failed, err)
		})
	}
	time.Sleep(warmUp + d)
	stop.Store(true)
	wg.Wait()
	measured := time.Since(from)
	if failed != nil {
		return sample{}, failed
	}
	if len(all) == 0 {
		return sample{}, errors.New("not one call was measured")
	}
	slices.Sort(all)
	return sample{
		rate: float64(len(all)) / measured.Seconds(),
		p50:  all[len(all)/2], p99: all[len(all)*99/100],
	}, nil
}

// median is that of each figure.
func median(s []sample) sample {
	mid := func(of func(sample) float64) float64 {
		v := make([]float64, len(s))
		for i := range s {
			v[i] = of(s[i])
		}
		slices.Sort(v)
		if n := len(v); n%2 == 0 {
			return (v[n/2-1] + v[n/2]) / 2
		}
		return v[len(v)/2]
	}
	return sample{
		rate: mid(func(s sample) float64 { return s.rate }),
		p50:  time.Duration(mid(func(s sample) float64 { return float64(s.p50) })),
		p99:  time.Duration(mid(func(s sample) float64 { return float64(s.p99) })),
		cpu:  time.Duration(mid(func(s sample) float64 { return float64(s.cpu) })),
	}
}

// report is a table in Markdown, so that it can be pasted into docs.
type report struct{ b strings.Builder }

func (r *report) head(cells ...string) {
	r.row(cells...)
	r.row(slices.Repeat([]string{"---"}, len(cells))...)
}

func (r *report) row(cells ...string) { r.b.WriteString("| " + strings.Join(cells, " | ") + " |\n") }

func (r *report) title(s string) { r.b.WriteString("\n" + s + "\n\n") }

func perSecond(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }

func millis(d time.Duration) string {
	return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 2, 64)
}
