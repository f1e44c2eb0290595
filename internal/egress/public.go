package egress

import "net/netip"

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

// Public reports whether an address is one of the Internet's. An IPv4 address
// written as an IPv6 one never is.
func Public(a netip.Addr) bool {
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
