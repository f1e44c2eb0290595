package oauth

import (
	"net/http"
	"time"

	"latchkey/internal/egress"
)

// outside is where clients' documents may be fetched from: the Internet, and in
// development this machine.
func outside(loopback bool) *egress.Policy {
	p := &egress.Policy{Timeout: documentTimeout}
	if loopback {
		p.Allow = egress.Loopback()
	}
	return p
}

// newTransport keeps no connection: a document is fetched once in a while.
func newTransport(p *egress.Policy) *http.Transport {
	t := p.Transport()
	t.DisableKeepAlives, t.IdleConnTimeout = true, time.Second
	t.ResponseHeaderTimeout, t.MaxResponseHeaderBytes = documentTimeout, 16<<10
	return t
}
