package sandbox

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// rule is one line of an egress list: a host and a port.
type rule struct {
	host  string // lower case
	below bool   // every name below host, and not host itself
	port  string
}

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)

// parseRule reads host:port, *.host:port or an address with a port.
func parseRule(s string) (rule, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return rule{}, fmt.Errorf("egress %.100q must be host:port, such as api.example.com:443 or *.example.com:443", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
		return rule{}, fmt.Errorf("egress %.100q: the port must be 1 to 65535", s)
	}
	r := rule{port: port}
	r.host, r.below = strings.CutPrefix(strings.ToLower(host), "*.")
	if a, err := netip.ParseAddr(r.host); err == nil {
		if a.Zone() != "" || r.below {
			return rule{}, fmt.Errorf("egress %.100q: an address stands alone", s)
		}
		r.host = a.Unmap().String()
		return r, nil
	}
	if len(r.host) > 253 || !hostName.MatchString(r.host) {
		return rule{}, fmt.Errorf("egress %.100q: the host must be a name, *. and a name, or an address", s)
	}
	// *.com would open most of the Internet.
	if r.below && !strings.Contains(r.host, ".") {
		return rule{}, fmt.Errorf("egress %.100q: after *. at least two labels are needed, such as *.example.com:443", s)
	}
	return r, nil
}

// CheckEgress reports what is wrong with an egress list, for whoever stores one.
func CheckEgress(list []string) error {
	if len(list) > 100 {
		return fmt.Errorf("an egress list has at most 100 entries, and this one has %d", len(list))
	}
	for _, one := range list {
		if _, err := parseRule(one); err != nil {
			return err
		}
	}
	return nil
}

// allows reports whether a host and port, as a client named them, are open.
func (r rule) allows(host, port string) bool {
	if port != r.port {
		return false
	}
	if r.below {
		return strings.HasSuffix(host, "."+r.host)
	}
	return host == r.host
}
