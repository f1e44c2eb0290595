package oauth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// special are the IPv4 ranges that no host on the Internet has (IANA's special
// purpose registry), with multicast and the reserved rest.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carrier-grade NAT; some clouds' metadata
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), // link-local; most clouds' metadata
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

// global is the one IPv6 block that is handed out; within it these embed IPv4
// addresses or are for documents and tests.
var (
	global    = netip.MustParsePrefix("2000::/3")
	notGlobal = []netip.Prefix{
		netip.MustParsePrefix("2001::/23"), // Teredo, benchmarking, ORCHID
		netip.MustParsePrefix("2001:db8::/32"),
		netip.MustParsePrefix("2002::/16"), // 6to4
		netip.MustParsePrefix("3fff::/20"),
	}
)

// publicAddr reports whether an address is one of the Internet's. An IPv4
// address written as an IPv6 one never is.
func publicAddr(a netip.Addr) bool {
	if !a.IsValid() || a.Zone() != "" || a.Is4In6() {
		return false
	}
	list := special
	if a.Is6() {
		if !global.Contains(a) {
			return false
		}
		list = notGlobal
	}
	for _, p := range list {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

var errPrivateAddress = errors.New("not a public address")

// publicDialer connects to public addresses only. It resolves a name once,
// checks what came out and connects to that very address, and checks again
// when the socket is made: a name that changes its mind gains nothing.
type publicDialer struct {
	loopback bool // development: this machine counts as public
	lookup   func(ctx context.Context, host string) ([]netip.Addr, error)
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
}

func (d publicDialer) allowed(a netip.Addr) bool {
	return publicAddr(a) || d.loopback && a.Unmap().IsLoopback()
}

// DialContext refuses a name with any address that is not public, rather than
// picking another: such a name is up to something.
func (d publicDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	lookup, dial := d.lookup, d.dial
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if dial == nil {
		dial = (&net.Dialer{Timeout: documentTimeout, Control: d.control}).DialContext
	}
	addrs, err := lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	for i, a := range addrs {
		// The resolver may give IPv4 in its long form; that is its notation,
		// not the answer's.
		if a.Is4In6() && a.Zone() == "" {
			a = a.Unmap()
			addrs[i] = a
		}
		if !d.allowed(a) {
			return nil, fmt.Errorf("%s: %w", host, errPrivateAddress)
		}
	}
	err = fmt.Errorf("%s has no address", host)
	for _, a := range addrs {
		var conn net.Conn
		if conn, err = dial(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// control runs between the making of a socket and its connecting.
func (d publicDialer) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !d.allowed(at.Addr().Unmap()) {
		return errPrivateAddress
	}
	return nil
}

// newTransport uses no proxy, keeps no connection, and unpacks nothing.
func newTransport(d publicDialer) *http.Transport {
	return &http.Transport{
		DialContext:            d.DialContext,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		TLSHandshakeTimeout:    documentTimeout,
		ResponseHeaderTimeout:  documentTimeout,
		MaxResponseHeaderBytes: 16 << 10,
		ForceAttemptHTTP2:      true,
		IdleConnTimeout:        time.Second,
	}
}
