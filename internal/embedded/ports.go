package embedded

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// FreePort returns a TCP port that nobody listens on at 127.0.0.1. Another
// process may take it before the caller does.
func FreePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// PortTakenError says who holds a port, where that could be found out.
type PortTakenError struct {
	Port    int
	Process string // name of the holder; "" when it is hidden from us
	Pid     int
	Advice  string // the sentence that says what to do
}

func (e *PortTakenError) Error() string {
	who := "another process"
	if e.Pid != 0 {
		who = fmt.Sprintf("%s (pid %d)", e.Process, e.Pid)
	}
	return fmt.Sprintf("Port %d is taken by %s. %s", e.Port, who, e.Advice)
}

// PortTaken returns a *PortTakenError when addr (host:port) cannot be listened
// on because somebody else does, and nil when it can. The error's advice is
// `platform dev --port` with the next port that is free; callers for whom that
// is wrong replace it.
func PortTaken(addr string) error {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: want host:port, such as 127.0.0.1:8080", addr)
	}
	port, err := strconv.Atoi(portText)
	if err != nil || port < 0 || port > 65535 {
		return fmt.Errorf("address %q: %q is no port number", addr, portText)
	}
	err = listenOnce(host, port)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	taken := &PortTakenError{Port: port, Advice: "Stop it, or choose another port with `platform dev --port`."}
	taken.Process, taken.Pid = portHolder(port)
	for next := port + 1; next <= min(port+100, 65535); next++ {
		if listenOnce(host, next) == nil {
			taken.Advice = fmt.Sprintf("Run `platform dev --port %d`.", next)
			break
		}
	}
	return taken
}

func listenOnce(host string, port int) error {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return ln.Close()
}
