// Package egress decides where the platform's own processes may connect to on
// behalf of a stranger or a tenant: to public addresses, and to private ones
// only where the operator has said so. It owns the addresses, the dialer that
// holds them after a name was resolved, and an HTTP transport over it.
//
// It leaves to its users which hosts a tenant may name, what is sent, and how
// redirects are followed: each hop is dialled here again.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// ErrPrivate is the cause when a name or an address is not one of the Internet
// and the operator has not allowed it.
var ErrPrivate = errors.New("not a public address")

// Policy is what may be connected to. The zero value allows public addresses
// and nothing else. It is safe for concurrent use.
type Policy struct {
	// Allow are ranges that count as public here, such as a company's own
	// network in a deployment of its own.
	Allow []netip.Prefix
	// Lookup resolves a name, and Dial connects to an address; nil: the system's.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout bounds a connection's making; 0 is 5 s.
	Timeout time.Duration
}

// Loopback are the addresses of this machine, for development.
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// ParseAllow reads ranges from a comma-separated list of prefixes or addresses.
func ParseAllow(list string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		if a, err := netip.ParseAddr(one); err == nil {
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(one)
		if err != nil {
			return nil, fmt.Errorf("%.60q is neither an address nor a range such as 10.0.0.0/8", one)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// OwnNetwork reports whether a host is, by its name, one of a network of one's
// own, where what is not encrypted may be asked for. Whether it may be connected
// to is for a Policy to say.
func OwnNetwork(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback() || a.IsPrivate()
	}
	return !strings.Contains(host, ".") || strings.HasSuffix(host, ".internal") || strings.HasSuffix(host, ".localhost")
}

// Allowed reports whether an address may be connected to.
func (p *Policy) Allowed(a netip.Addr) bool {
	if Public(a) {
		return true
	}
	if !a.IsValid() || a.Zone() != "" {
		return false
	}
	for _, r := range p.Allow {
		if r.Contains(a.Unmap()) {
			return true
		}
	}
	return false
}

// DialContext resolves a name once, checks what came out and connects to that
// very address, and checks again when the socket is made: a name that changes
// its mind gains nothing. A name with any address that is not allowed is
// refused, rather than another picked: such a name is up to something.
func (p *Policy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	lookup, dial := p.Lookup, p.Dial
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if dial == nil {
		timeout := p.Timeout
		if timeout == 0 {
			timeout = 5 * time.Second
		}
		dial = (&net.Dialer{Timeout: timeout, Control: p.control}).DialContext
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
		if !p.Allowed(a) {
			return nil, fmt.Errorf("%s: %w", host, ErrPrivate)
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
func (p *Policy) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !p.Allowed(at.Addr().Unmap()) {
		return ErrPrivate
	}
	return nil
}

// Transport is an HTTP transport that uses no proxy, unpacks nothing and dials
// by the policy. Its other fields are for the caller to set before its use.
func (p *Policy) Transport() *http.Transport {
	timeout := p.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	return &http.Transport{
		DialContext:            p.DialContext,
		DisableCompression:     true,
		TLSHandshakeTimeout:    timeout,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
	}
}
