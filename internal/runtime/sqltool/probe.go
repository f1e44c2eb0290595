package sqltool

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// Probe asks where reads go whether it takes connections: it says which database
// it wants, and leaves when it is asked who it is. That is what pg_isready does:
// it shows a server that starts, stops, recovers or is full, and Postgres logs
// nothing of it.
//
// It asks for no credential on purpose. One every few seconds would keep a
// database user alive for a server that nobody calls, and every probe would
// count against Vault. A credential that is refused shows at the first call, in
// its own words.
func (in *instance) Probe(ctx context.Context, c *runtime.Call, _ runtime.Env) (*runtime.Result, error) {
	if err := in.pools.ready(ctx); err != nil {
		return nil, err
	}
	return &runtime.Result{Health: &runtime.Health{}, Rows: -1}, nil
}

const (
	sslRequest  = 80877103 // PostgreSQL's message formats, SSLRequest
	probeUser   = "latchkey_probe"
	maxGreeting = 64 << 10 // of what is answered to a stranger
)

func (p *pools) ready(ctx context.Context) error {
	host, port := p.connection.address(registry.ReadAccess)
	cfg := p.config[registry.ReadAccess].ConnConfig
	network, address := pgconn.NetworkAddress(host, uint16(port))
	conn, err := cfg.DialFunc(ctx, network, address)
	if err != nil {
		return notReady("does not answer", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if cfg.TLSConfig != nil {
		if conn, err = secured(ctx, conn, cfg.TLSConfig); err != nil {
			return notReady("does not take an encrypted connection", err)
		}
	}
	f := pgproto3.NewFrontend(io.LimitReader(conn, maxGreeting), conn)
	f.SetMaxBodyLen(maxGreeting)
	f.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": probeUser, "database": p.connection.Database, "application_name": "latchkey/probe"}})
	if err := f.Flush(); err != nil {
		return notReady("does not answer", err)
	}
	for {
		m, err := f.Receive()
		if err != nil {
			return notReady("does not answer", err)
		}
		switch m := m.(type) {
		case *pgproto3.NoticeResponse, *pgproto3.NegotiateProtocolVersion, *pgproto3.ParameterStatus:
			continue
		case *pgproto3.ErrorResponse:
			// Starting, stopping, recovering; full. Whatever else it says to a stranger,
			// it is there.
			if strings.HasPrefix(m.Code, "57P") || strings.HasPrefix(m.Code, "53") {
				return notReady("takes no connections now", errors.New(m.Code))
			}
		}
		return nil
	}
}

// secured asks for TLS before anything else is said.
func secured(ctx context.Context, conn net.Conn, cfg *tls.Config) (net.Conn, error) {
	if err := binary.Write(conn, binary.BigEndian, []int32{8, sslRequest}); err != nil {
		return conn, err
	}
	var answer [1]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return conn, err
	}
	if answer[0] != 'S' {
		return conn, errors.New("it said no")
	}
	t := tls.Client(conn, cfg)
	return t, t.HandshakeContext(ctx)
}

func notReady(what string, cause error) error {
	return fault.New(fault.UpstreamAway, "The database %s. Check that it runs, its address, and the way to it from the workers.", what).Because(cause)
}
