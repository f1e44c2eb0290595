package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/demo"
	"latchkey/internal/embedded"
	"latchkey/internal/secret"
)

// upstreamCommand is the demo's own API, as a process of its own. It is started by
// `platform dev` and shown to nobody.
func upstreamCommand() *cobra.Command {
	return &cobra.Command{
		Use: "upstream", Short: "Serve the demo's own API, for `platform dev`", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serveUpstream(cmd.Context(), os.Getenv("DEMO_UPSTREAM_DSN"), secret.Text(os.Getenv("DEMO_UPSTREAM_PASSWORD")), secret.Text(os.Getenv("DEMO_UPSTREAM_KEY")))
		},
	}
}

// serveUpstream serves on a free port of this machine and says which, in a line of
// JSON, until ctx is done.
func serveUpstream(ctx context.Context, dsn string, password, key secret.Text) error {
	if dsn == "" || key == "" {
		return errors.New("`platform upstream` is started by `platform dev`")
	}
	up, err := demo.OpenUpstream(ctx, dsn, password, key)
	if err != nil {
		return err
	}
	defer up.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: up, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	}()
	if err := json.NewEncoder(os.Stdout).Encode(upstreamReady{"upstream ready", "http://" + ln.Addr().String()}); err != nil {
		return err
	}
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

type upstreamReady struct {
	Msg string `json:"msg"`
	URL string `json:"url"`
}

// startUpstream starts the process and gives its address.
func startUpstream(ctx context.Context, state *embedded.State, pg *embedded.Postgres, s *devSecrets) (child *embedded.Child, url string, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	child, err = embedded.StartChild(embedded.ChildOptions{
		Name: "upstream", Path: exe, Args: []string{"upstream"}, Log: state.Path("upstream.log"), Stdout: in,
		Env: []string{
			"PATH=" + os.Getenv("PATH"), "DEMO_UPSTREAM_DSN=" + fmt.Sprintf("host=%s port=%d dbname=demo_acme sslmode=disable", pg.Host(), pg.Port()),
			"DEMO_UPSTREAM_PASSWORD=" + s.DemoUpstream.Reveal(), "DEMO_UPSTREAM_KEY=" + s.DemoUpstreamKey.Reveal(),
		},
	})
	in.Close()
	if err != nil {
		out.Close()
		return nil, "", err
	}
	line := make(chan upstreamReady, 1)
	go func() {
		defer out.Close()
		var r upstreamReady
		if lines := bufio.NewScanner(out); lines.Scan() {
			_ = json.Unmarshal(lines.Bytes(), &r)
		}
		line <- r
	}()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	select {
	case r := <-line:
		if r.URL != "" {
			return child, r.URL, nil
		}
	case <-ctx.Done():
	}
	return nil, "", errors.Join(fmt.Errorf("the demo's API did not become ready; the end of its log (%s):\n%s", state.Path("upstream.log"), child.LogTail()), child.Stop())
}
