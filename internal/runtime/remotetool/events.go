package remotetool

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/mcptool"
)

// event is one of a stream (HTML, server-sent events).
type event struct {
	name, id, retry string
	data            []byte
}

// scanner reads events of a bounded size.
type scanner struct{ in *bufio.Reader }

func newScanner(r io.Reader) scanner { return scanner{bufio.NewReader(r)} }

// next gives the next event that has anything. At the end of the stream it is
// io.EOF; what stands there without its empty line is an event too.
func (s scanner) next() (e event, err error) {
	var line []byte
	read, any := 0, false
	for {
		part, err := s.in.ReadSlice('\n')
		if read += len(part); read > mcptool.MaxMessage {
			return e, runtime.TooLarge(read, mcptool.MaxMessage)
		}
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return e, err
		}
		text := bytes.TrimRight(line, "\r\n")
		if len(text) > 0 {
			any = e.field(text) || any
		} else if any {
			return e, nil
		} else {
			read = 0
		}
		if err != nil {
			if any {
				return e, nil
			}
			return e, io.EOF
		}
		line = line[:0]
	}
}

// field reads one line. Those that are not known, and comments, are nothing.
func (e *event) field(line []byte) bool {
	name, value, _ := bytes.Cut(line, []byte(":"))
	value = bytes.TrimPrefix(value, []byte(" "))
	switch string(name) {
	case "event":
		e.name = string(value)
	case "id":
		e.id = string(value)
	case "retry":
		e.retry = string(value)
	case "data":
		if e.data == nil {
			e.data = []byte{}
		} else {
			e.data = append(e.data, '\n')
		}
		e.data = append(e.data, value...)
	default:
		return false
	}
	return true
}

// write writes an event as the SDK reads it. Newlines in JSON are white space.
func (e event) write(b *bytes.Buffer) {
	for _, f := range []struct{ name, value string }{{"event", e.name}, {"id", e.id}, {"retry", e.retry}} {
		if f.value != "" {
			b.WriteString(f.name + ": " + f.value + "\n")
		}
	}
	if e.data != nil {
		b.WriteString("data: ")
		b.Write(bytes.ReplaceAll(e.data, []byte("\n"), []byte(" ")))
		b.WriteString("\n")
	}
	b.WriteString("\n")
}

// events is the body of a stream as the SDK gets to read it: events that are of
// the protocol, each after the session was told whose it is. On the stream of a
// call nothing comes after its answer.
type events struct {
	c    *carrier
	body io.ReadCloser
	scan scanner
	r    *mcptool.Running
	id   string // of the call whose stream it is, empty for none
	done func()
	last string // id of an event: the SDK resumes after it
	out  bytes.Buffer
	err  error
}

func newEvents(c *carrier, body io.ReadCloser, r *mcptool.Running, id string, done func()) *events {
	return &events{c: c, body: body, scan: newScanner(body), r: r, id: id, done: done}
}

func (e *events) Read(p []byte) (int, error) {
	for e.out.Len() == 0 {
		if e.err != nil {
			return 0, e.err
		}
		e.one()
	}
	return e.out.Read(p)
}

func (e *events) Close() error {
	if e.r != nil {
		e.r.StreamEnded()
	}
	e.done()
	return e.body.Close()
}

// one reads an event and writes what is left of it.
func (e *events) one() {
	ev, err := e.scan.next()
	if err != nil {
		e.end(err)
		return
	}
	if ev.id != "" {
		e.last = ev.id
	}
	if len(ev.data) > 0 && (ev.name == "" || ev.name == "message") {
		var keep bool
		if ev.data, keep, err = e.c.pass(ev.data, e.r, e.id); err != nil {
			e.fail(err)
			return
		}
		if !keep {
			ev.data = nil
		} else if e.id != "" && isAnswer(ev.data) {
			e.err = io.EOF
		}
	} else if e.c.apart {
		ev.data = nil
	}
	if !e.c.apart {
		ev.id = ""
	}
	if ev.data != nil || ev.id != "" || ev.retry != "" {
		ev.write(&e.out)
	}
}

// isAnswer reports whether a message that pass has let through is an answer.
func isAnswer(data []byte) bool {
	msg, err := jsonrpc.DecodeMessage(data)
	_, ok := msg.(*jsonrpc.Response)
	return err == nil && ok
}

// end ends the stream. A call without its answer fails, unless the SDK can resume.
func (e *events) end(err error) {
	if e.id != "" && e.last == "" && e.r != nil {
		if errors.Is(err, io.EOF) {
			e.r.Fail(fmt.Errorf("%w: the stream ended before the answer", mcptool.ErrInterrupted))
		} else if f := (*fault.Error)(nil); errors.As(err, &f) {
			e.r.Fail(err)
		} else {
			e.r.Fail(fmt.Errorf("%w: %w", mcptool.ErrInterrupted, err))
		}
	}
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		e.fail(err)
		return
	}
	if e.r != nil {
		e.r.StreamEnded()
	}
	e.err = io.EOF // an error here would say nothing more to the SDK
}

// fail ends a stream that is not of the protocol, with an answer for the SDK.
func (e *events) fail(err error) {
	e.err = io.EOF
	if e.r != nil {
		e.r.Fail(err)
		e.r.StreamEnded()
	}
	if e.id != "" {
		event{data: []byte(`{"jsonrpc":"2.0","id":` + e.id + `,"error":{"code":-32603,"message":"unreadable"}}`)}.write(&e.out)
	} else if !e.c.apart {
		e.c.session.Break(err)
	}
}

// pass looks at one message of a stream: the session hears it, and what the SDK
// is to see is given back.
func (c *carrier) pass(data []byte, r *mcptool.Running, id string) (out []byte, keep bool, err error) {
	data = c.redact(data)
	msg, err := jsonrpc.DecodeMessage(data)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %v", errUnread, err)
	}
	if !c.apart {
		return data, true, nil // the session listens there
	}
	switch msg := msg.(type) {
	case *jsonrpc.Request:
		if !c.session.Received(r, msg) {
			return nil, false, nil
		}
		if data, err = jsonrpc.EncodeMessage(msg); err != nil {
			return nil, false, err
		}
	case *jsonrpc.Response:
		if id == "" || !sameID(msg.ID, id) {
			return nil, false, nil // another call's answer has its own stream
		}
		if r != nil {
			r.Answered(msg)
		}
	}
	return data, true, nil
}

const (
	againFirst = time.Second
	againMost  = time.Minute
)

// standing is the stream on which an upstream of the old era speaks of itself.
// The SDK gets one that never ends; below it is whatever the upstream gives, as
// often as it takes: that it breaks is no reason to break the calls.
func (c *carrier) standing(req *http.Request) *http.Response {
	ctx, cancel := context.WithCancel(req.Context())
	context.AfterFunc(c.life, cancel)
	out, in := io.Pipe()
	go func() {
		defer cancel()
		for wait, last := againFirst, ""; ctx.Err() == nil; wait = min(2*wait, againMost) {
			began := time.Now()
			again := c.hear(req.Clone(ctx), in, &last)
			if !again {
				break
			}
			c.session.Missed()
			if time.Since(began) > againMost {
				wait = againFirst
			}
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
		<-ctx.Done()
		in.CloseWithError(context.Cause(ctx))
	}()
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1,
		Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: &closing{out, out, cancel}, Request: req,
	}
}

// hear passes on one stream, and reports whether to ask for another.
func (c *carrier) hear(req *http.Request, to *io.PipeWriter, last *string) (again bool) {
	if *last != "" {
		req.Header.Set("Last-Event-ID", *last)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	defer cancel(nil)
	timer := time.AfterFunc(headerWait, func() { cancel(errSlow) })
	defer timer.Stop()
	req = req.WithContext(ctx)
	c.decorate(req.Header)
	res, err := c.base.RoundTrip(req)
	if err != nil {
		return ctx.Err() == nil // one that does not answer has no such stream
	}
	timer.Stop()
	defer res.Body.Close()
	if res.StatusCode >= 500 {
		return true
	}
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return false
	}
	for scan := newScanner(res.Body); ; {
		ev, err := scan.next()
		if err != nil {
			return true
		}
		if ev.id != "" {
			*last = ev.id
		}
		if len(ev.data) == 0 || ev.name != "" && ev.name != "message" || !json.Valid(ev.data) {
			continue
		}
		data, keep, err := c.pass(ev.data, nil, "")
		if err != nil || !keep {
			continue
		}
		var b bytes.Buffer
		event{data: data}.write(&b)
		if _, err := to.Write(b.Bytes()); err != nil {
			return false
		}
	}
}
