package oauth

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"time"
)

// Net is the network that a test gives to the fetcher of client documents.
type Net struct {
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	TLS    *tls.Config
	Limit  time.Duration // of a fetch
}

// UseNet replaces the network, and nothing of the checks.
func (s *Server) UseNet(n Net) {
	to := outside(s.AllowLoopbackCIMD)
	to.Lookup, to.Dial = n.Lookup, n.Dial
	tr := newTransport(to)
	tr.TLSClientConfig = n.TLS
	s.documents.client.Transport = tr
	if n.Limit != 0 {
		s.documents.client.Timeout = n.Limit
	}
}
