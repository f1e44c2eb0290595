package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"latchkey/internal/embedded"
)

// packaging is whether this machine can host the demo's packaged servers. It is
// found out while other things start, and nothing is installed for it: a worker
// does that once the platform is ready.
type packaging struct {
	ready   chan struct{}
	missing string // why not; empty: it can
	cache   string
}

func (o devOptions) lookForPackaging(ctx context.Context) *packaging {
	p := &packaging{ready: make(chan struct{})}
	go func() {
		defer close(p.ready)
		var err error
		if p.cache, err = embedded.CacheDir(os.Getenv(embedded.EnvCacheDir)); err != nil {
			p.missing = err.Error()
			return
		}
		if !o.packaged {
			p.missing = "that is what --packaged=false is for"
			return
		}
		if _, err := exec.LookPath("npm"); err != nil && os.Getenv("LATCHKEY_NPM") == "" {
			p.missing = "npm is not installed"
			return
		}
		if found, fix := sandboxCheck(ctx); fix != "" || os.Getenv("LATCHKEY_SANDBOX") == "off" {
			p.missing = "they need a sandbox (" + found + "; `bin/worker doctor` says more)"
		}
	}()
	return p
}

func (p *packaging) possible() bool {
	<-p.ready
	return p.missing == ""
}

// settings are those of the worker's environment that hosting needs. Where there
// is no Node that is new enough, one is fetched behind everything's back, into a
// folder that stands first on the worker's PATH.
func (p *packaging) settings(state *embedded.State, say func(string)) (env []string, stop func() error) {
	possible := p.possible()
	env = []string{"HOME=" + os.Getenv("HOME"), "LATCHKEY_STATE_DIR=" + state.Path("servers")}
	path := os.Getenv("PATH")
	stop = func() error { return nil }
	if p.cache != "" {
		env = append(env, "LATCHKEY_CACHE_DIR="+p.cache)
		path = embedded.NodeDir(p.cache) + string(filepath.ListSeparator) + path
	}
	for _, s := range os.Environ() {
		if name, _, _ := strings.Cut(s, "="); forPackages(name) {
			env = append(env, s)
		}
	}
	if !possible {
		say("Leaving out the demo's servers files and everything: " + p.missing)
	} else {
		ctx, cancel := context.WithCancel(context.Background())
		var fetching sync.WaitGroup
		fetching.Go(func() {
			if _, err := embedded.Node22(ctx, p.cache, nil); err != nil && ctx.Err() == nil {
				say(fmt.Sprintf("The demo's servers files and everything may not start: %v", err))
			}
		})
		stop = func() error { cancel(); fetching.Wait(); return nil }
	}
	return append(env, "PATH="+path), stop
}

// forPackages reports whether a worker gets a variable for installing packages.
func forPackages(name string) bool {
	switch strings.ToLower(name) {
	case "http_proxy", "https_proxy", "no_proxy", "latchkey_node", "latchkey_npm", "ssl_cert_file", "ssl_cert_dir", "node_extra_ca_certs":
		return true
	}
	return strings.HasPrefix(strings.ToLower(name), "npm_config_")
}
