package sandbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/internal/egress"
)

// Bounds of what goes through a gate.
const (
	gateConns  = 64               // at once
	gateHeader = 32 << 10         // bytes of a request's line and headers
	gateHello  = 10 * time.Second // for those to come, and for a connection to be made
	gateIdle   = 2 * time.Minute  // without a byte either way
	gateLife   = time.Hour
	gateBytes  = 1 << 30 // each way of a connection
	gateLogs   = 20      // refusals logged a minute; a process may make as many as it likes
)

// gate is the one way out of a sandbox: an HTTP proxy on a unix socket that
// only that sandbox has, so that the socket says who asks. It resolves names
// itself, and reads nothing of what passes.
type gate struct {
	rules  []rule
	policy *egress.Policy
	log    *slog.Logger // has the tenant and the server
	l      net.Listener
	ctx    context.Context
	stop   context.CancelFunc
	conns  sync.WaitGroup

	minute atomic.Int64
	logged atomic.Int64
}

// openGate serves l until Close.
func openGate(l net.Listener, list []string, policy *egress.Policy, log *slog.Logger) (*gate, error) {
	g := &gate{policy: policy, log: log, l: l}
	for _, one := range list {
		r, err := parseRule(one)
		if err != nil {
			return nil, err
		}
		g.rules = append(g.rules, r)
	}
	g.ctx, g.stop = context.WithCancel(context.Background())
	g.conns.Go(g.accept)
	return g, nil
}

// Close ends every connection.
func (g *gate) Close() {
	g.stop()
	g.l.Close()
	g.conns.Wait()
}

func (g *gate) accept() {
	slots := make(chan struct{}, gateConns)
	for {
		select {
		case slots <- struct{}{}:
		case <-g.ctx.Done():
			return
		}
		conn, err := g.l.Accept()
		if err != nil {
			return
		}
		g.conns.Go(func() {
			defer func() { <-slots }()
			defer conn.Close()
			ctx, cancel := context.WithTimeout(g.ctx, gateLife)
			defer cancel()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			g.serve(ctx, conn)
		})
	}
}

// serve answers one request: a tunnel, or plain HTTP for one exchange.
func (g *gate) serve(ctx context.Context, conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(gateHello))
	// No more than the header is taken before it is known where it goes.
	head := &io.LimitedReader{R: conn, N: gateHeader}
	in := bufio.NewReaderSize(head, 4<<10)
	r, err := http.ReadRequest(in)
	if err != nil {
		answer(conn, http.StatusBadRequest, "this is an HTTP proxy")
		return
	}
	host, port, err := target(r)
	if err != nil {
		answer(conn, http.StatusBadRequest, err.Error())
		return
	}
	out, err := g.dial(ctx, host, port)
	if err != nil {
		status, said := g.explain(err, host, port)
		answer(conn, status, said)
		return
	}
	defer out.Close()
	defer context.AfterFunc(ctx, func() { out.Close() })()
	head.N = gateBytes
	_ = conn.SetDeadline(time.Time{})
	if r.Method == http.MethodConnect {
		if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
			return
		}
		var both sync.WaitGroup
		both.Go(func() { pass(out, in, conn, out) })
		both.Go(func() { pass(conn, &io.LimitedReader{R: out, N: gateBytes}, conn, out) })
		both.Wait()
		return
	}
	g.exchange(r, conn, out)
}

// exchange sends one request as it was read, never more, and what comes back.
func (g *gate) exchange(r *http.Request, conn, out net.Conn) {
	for _, name := range []string{"Proxy-Connection", "Proxy-Authorization", "Keep-Alive", "Te", "Upgrade"} {
		r.Header.Del(name)
	}
	r.Header.Set("Connection", "close")
	if r.Header.Get("User-Agent") == "" {
		r.Header["User-Agent"] = nil // else the library names itself
	}
	r.Close = true
	_ = out.SetWriteDeadline(time.Now().Add(gateIdle))
	if err := r.Write(out); err != nil {
		return
	}
	pass(conn, &io.LimitedReader{R: out, N: gateBytes}, conn, out)
}

// target is where a request is to go.
func target(r *http.Request) (host, port string, err error) {
	where := r.Host
	switch {
	case r.Method == http.MethodConnect:
		where = r.RequestURI
	case r.URL.Scheme != "http" || r.URL.Host == "":
		return "", "", errors.New("this is an HTTP proxy: use CONNECT, or a whole http:// URL")
	default:
		where = r.URL.Host
		if r.URL.Port() == "" {
			where = net.JoinHostPort(r.URL.Hostname(), "80")
		}
	}
	if host, port, err = net.SplitHostPort(where); err != nil || host == "" {
		return "", "", errors.New("the target must be host:port")
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.Unmap().String()
	}
	return host, port, nil
}

var errNotListed = errors.New("not on the egress list")

func (g *gate) dial(ctx context.Context, host, port string) (net.Conn, error) {
	open := false
	for _, r := range g.rules {
		open = open || r.allows(host, port)
	}
	if !open {
		return nil, errNotListed
	}
	ctx, cancel := context.WithTimeout(ctx, gateHello)
	defer cancel()
	return g.policy.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
}

// explain says to the inside no more than why, and logs what was refused.
func (g *gate) explain(err error, host, port string) (status int, said string) {
	status, said = http.StatusForbidden, fmt.Sprintf("%.100s:%.5s is not on the egress list of this server", host, port)
	switch {
	case errors.Is(err, errNotListed):
	case errors.Is(err, egress.ErrPrivate):
		said = fmt.Sprintf("%.100s is not a public address, and the operator has not allowed it", host)
	default:
		return http.StatusBadGateway, fmt.Sprintf("%.100s:%.5s cannot be reached", host, port)
	}
	now := time.Now().Unix() / 60
	if g.minute.Swap(now) != now {
		g.logged.Store(0)
	}
	switch n := g.logged.Add(1); {
	case n <= gateLogs:
		g.log.Warn("egress refused", "host", fmt.Sprintf("%.100q", host), "port", fmt.Sprintf("%.5q", port), "reason", reason(err))
	case n == gateLogs+1:
		g.log.Warn("egress refused: more of this minute are not logged")
	}
	return status, said
}

func reason(err error) string {
	if errors.Is(err, errNotListed) {
		return "not listed"
	}
	return "not public"
}

func answer(conn net.Conn, status int, said string) {
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n",
		status, http.StatusText(status), len(said)+1, said)
}

// pass copies from src to dst until its end, or until neither of the two
// connections had a byte for gateIdle, and passes the end on.
func pass(dst net.Conn, src io.Reader, a, b net.Conn) {
	buf := make([]byte, 32<<10)
	for {
		until := time.Now().Add(gateIdle)
		_ = a.SetDeadline(until)
		_ = b.SetDeadline(until)
		n, err := src.Read(buf)
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				break
			}
		}
		if err != nil {
			if err == io.EOF {
				if c, ok := dst.(interface{ CloseWrite() error }); ok {
					_ = c.CloseWrite()
				}
				return
			}
			break
		}
	}
	a.Close()
	b.Close()
}
