package console

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
)

// InProcess sends requests to a handler of this process: real requests, without
// a network between. handler is asked for at each, as it serves the console
// too and is there later.
func InProcess(handler func() http.Handler) http.RoundTripper { return inProcess(handler) }

type inProcess func() http.Handler

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	defer in.Body.Close()
	in.RequestURI, in.Host, in.RemoteAddr = r.URL.RequestURI(), r.URL.Host, "127.0.0.1:0"
	w := &answer{header: http.Header{}}
	p().ServeHTTP(w, in)
	w.WriteHeader(http.StatusOK)
	return &http.Response{
		Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Request: r,
		Body: io.NopCloser(&w.body), ContentLength: int64(w.body.Len()),
	}, nil
}

// answer keeps what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *answer) Header() http.Header { return w.header }
func (w *answer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}
func (w *answer) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}
