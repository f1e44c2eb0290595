package limits

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
)

// counting counts what is written to a server at once.
type counting struct{ writes atomic.Int64 }

func (c *counting) dial(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
	conn, err := d.DialContext(ctx, "unix", address)
	return countingConn{conn, c}, err
}

type countingConn struct {
	net.Conn
	to *counting
}

func (c countingConn) Write(b []byte) (int, error) {
	c.to.writes.Add(1)
	return c.Conn.Write(b)
}
