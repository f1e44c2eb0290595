package egress

import (
	"context"
	"net"
	"net/netip"
	"testing"
)

// The socket is checked once more when it is made, whatever led to it.
func TestDialerChecksTheSocketItself(t *testing.T) {
	for address, want := range map[string]bool{
		"93.184.215.14:443": true, "[2606:2800:21f:cb07:6820:80da:af6b:8b2c]:443": true,
		"127.0.0.1:443": false, "[::1]:443": false, "[::ffff:10.0.0.1]:443": false, "169.254.169.254:80": false, "[fe80::1%lo]:443": false, "nonsense": false,
	} {
		if got := (&Policy{}).control("tcp", address, nil) == nil; got != want {
			t.Errorf("%s: allowed %v", address, got)
		}
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer inner.Close()
	lied := Policy{Lookup: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}}
	_, port, _ := net.SplitHostPort(inner.Addr().String())
	if conn, err := lied.DialContext(context.Background(), "tcp", "example.com:"+port); err == nil {
		conn.Close()
		t.Error("connected to this machine")
	}
}

func TestAllowedRangesCount(t *testing.T) {
	ranges, err := ParseAllow(" 10.1.0.0/16, 192.168.1.7 ,")
	if err != nil {
		t.Fatal(err)
	}
	p := &Policy{Allow: append(ranges, Loopback()...)}
	for address, want := range map[string]bool{
		"10.1.2.3": true, "10.2.0.1": false, "192.168.1.7": true, "192.168.1.8": false, "127.0.0.1": true, "::1": true,
		"::ffff:10.1.2.3": true, "169.254.169.254": false, "8.8.8.8": true, "fe80::1": false,
	} {
		if got := p.Allowed(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: allowed %v", address, got)
		}
	}
	if _, err := ParseAllow("10.0.0.0/8, example.com"); err == nil {
		t.Error("a name was taken for a range")
	}
}
