// Command vaultd is a small but real HashiCorp Vault server for development
// and tests, and for nothing else. It listens on a loopback address only,
// speaks plain HTTP, and keeps its unseal key beside its data.
//
// It carries what Latchkey asks of a Vault: the kv, transit, pki and database
// (PostgreSQL) secrets engines, the jwt and approle auth methods and the file
// audit device. Operators bring their own Vault or OpenBao.
//
// It is a module of its own, so that Vault's dependencies never meet the
// platform's. Vault 1.13.0 with sdk v0.8.1 is the newest combination under the
// MPL-2.0 that builds unpatched from published modules; 1.14.9 and later are
// under another licence and must not be linked here.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/vault"
)

const usage = `vaultd: a Vault server for development and tests only.

It listens on loopback without TLS and keeps its unseal key beside its data:
do not put a secret of value into it. In production use Vault or OpenBao.

When it is ready it prints one line on standard output:
  {"addr":"http://127.0.0.1:41873","root_token":"hvs.…"}
SIGTERM or SIGINT stops it.

Usage:
  vaultd [flags]
  vaultd version

Flags:
`

type options struct {
	listen     string
	storage    string
	dir        string
	logLevel   string
	untilStdin bool
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		fmt.Println("vaultd over Vault v1.13.0, for development and tests only")
		return
	}
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "loopback `address`; port 0 takes any free one")
	flag.StringVar(&o.storage, "storage", "inmem", "inmem or file; file storage unseals itself at the next start")
	flag.StringVar(&o.dir, "dir", "", "`folder` of the file storage and of its unseal key")
	flag.StringVar(&o.logLevel, "log-level", "warn", "trace, debug, info, warn or error; the log goes to standard error")
	flag.BoolVar(&o.untilStdin, "until-stdin-closes", false, "stop when standard input ends: a parent that holds the pipe takes this server with it, however it dies")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "vaultd: unexpected argument %q; run `vaultd --help`\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "vaultd:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if o.untilStdin {
		go func() {
			io.Copy(io.Discard, bufio.NewReader(os.Stdin))
			cancel()
		}()
	}

	ln, err := listenLoopback(o.listen)
	if err != nil {
		return err
	}
	defer ln.Close()
	addr := "http://" + ln.Addr().String()

	logger := hclog.New(&hclog.LoggerOptions{Name: "vaultd", Level: hclog.LevelFromString(o.logLevel)})
	store, err := openStorage(o.storage, o.dir, logger)
	if err != nil {
		return err
	}
	core, err := newCore(store, addr, logger)
	if err != nil {
		return fmt.Errorf("start the core: %w", err)
	}
	defer core.Shutdown()
	rootToken, err := store.unseal(core)
	if err != nil {
		return err
	}

	srv := &http.Server{
		Handler: vaulthttp.Handler.Handler(&vault.HandlerProperties{
			Core: core,
			ListenerConfig: &configutil.Listener{
				Type: "tcp", Address: ln.Addr().String(), TLSDisable: true,
				MaxRequestSize: 32 << 20, MaxRequestDuration: 90 * time.Second,
			},
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		<-ctx.Done()
		// Requests in flight get a moment: one of them may be the call that
		// told the parent to stop.
		short, done := context.WithTimeout(context.Background(), 2*time.Second)
		defer done()
		if srv.Shutdown(short) != nil {
			srv.Close()
		}
	}()

	ready := map[string]string{"addr": addr, "root_token": rootToken}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return fmt.Errorf("print the address: %w", err)
	}
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// listenLoopback refuses every address that another machine could reach.
func listenLoopback(addr string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("-listen %q: want host:port, such as 127.0.0.1:8200", addr)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("-listen %q: only a loopback address such as 127.0.0.1 is allowed; this server is for development and tests", addr)
	}
	return net.Listen("tcp", addr)
}
