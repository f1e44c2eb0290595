package embedded

import (
	"errors"
	"net"
	"os"
	"strconv"
	"testing"
)

func TestPortTakenNamesTheHolderAndTheWayOut(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port

	err = PortTaken(ln.Addr().String())
	wantError(t, err, "Port "+strconv.Itoa(port)+" is taken by ", "(pid "+strconv.Itoa(os.Getpid())+"). Run `platform dev --port ")
	if taken, ok := errors.AsType[*PortTakenError](err); !ok || taken.Port != port || taken.Pid != os.Getpid() {
		t.Errorf("%#v", err)
	}

	ln.Close()
	if err := PortTaken(ln.Addr().String()); err != nil {
		t.Errorf("the port is free: %v", err)
	}
}

func TestPortTakenRefusesNonsense(t *testing.T) {
	for _, addr := range []string{"8080", "127.0.0.1:http", "127.0.0.1:70000"} {
		wantError(t, PortTaken(addr), addr)
	}
}

func TestFreePortIsFree(t *testing.T) {
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	if err := PortTaken(net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err != nil {
		t.Error(err)
	}
}

func TestPortHeldByNobodyHasNoHolder(t *testing.T) {
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	if name, pid := portHolder(port); pid != 0 {
		t.Errorf("portHolder = %s, %d", name, pid)
	}
}
