package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"latchkey/internal/packages"
	"latchkey/internal/runtime"
)

// hosting is what the environment decides of tenants' processes, beside their
// sandbox.
type hosting struct {
	StateDir        string   // LATCHKEY_STATE_DIR; empty: servers that keep state are refused
	CacheDir        string   // LATCHKEY_CACHE_DIR; the user's cache folder
	CacheSize       int64    // LATCHKEY_CACHE_SIZE, bytes; 20 GB
	Node, NPM       string   // LATCHKEY_NODE, LATCHKEY_NPM; PATH's
	Processes       int      // LATCHKEY_WORKER_PROCESSES; 32
	TenantProcesses int      // LATCHKEY_WORKER_TENANT_PROCESSES; 12
	NPMEnv          []string // what the npm client may see
}

func readHosting(env func(string) string, environ []string) (h hosting, err error) {
	h = hosting{StateDir: env("LATCHKEY_STATE_DIR"), CacheDir: env("LATCHKEY_CACHE_DIR"), Node: env("LATCHKEY_NODE"), NPM: env("LATCHKEY_NPM")}
	var errs []error
	for name, at := range map[string]*int{"LATCHKEY_WORKER_PROCESSES": &h.Processes, "LATCHKEY_WORKER_TENANT_PROCESSES": &h.TenantProcesses} {
		if v := env(name); v != "" {
			if *at, err = strconv.Atoi(v); err != nil || *at < 1 || *at > 4096 {
				errs = append(errs, fmt.Errorf("%s: must be a number from 1 to 4096", name))
			}
		}
	}
	if v := env("LATCHKEY_CACHE_SIZE"); v != "" {
		if h.CacheSize, err = parseSize(v); err != nil {
			errs = append(errs, fmt.Errorf("LATCHKEY_CACHE_SIZE: %w", err))
		}
	}
	if home := env("HOME"); h.CacheDir == "" && home != "" {
		h.CacheDir = filepath.Join(home, ".cache", "latchkey")
	}
	for name, at := range map[string]*string{"LATCHKEY_STATE_DIR": &h.StateDir, "LATCHKEY_CACHE_DIR": &h.CacheDir} {
		if *at == "" {
			continue
		}
		if *at, err = filepath.Abs(*at); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	for _, s := range environ {
		if name, _, _ := strings.Cut(s, "="); forNPM(name) {
			h.NPMEnv = append(h.NPMEnv, s)
		}
	}
	return h, errors.Join(errs...)
}

var sizePattern = regexp.MustCompile(`^(\d{1,6}) ?(MB|GB)$`)

// parseSize reads a number of bytes, written such as 20GB.
func parseSize(s string) (int64, error) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, errors.New("must be a size such as 500MB or 20GB")
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || n == 0 {
		return 0, errors.New("must be a size such as 500MB or 20GB")
	}
	if m[2] == "GB" {
		return n << 30, nil
	}
	return n << 20, nil
}

// forNPM: the operator's settings of npm, and how to reach a registry. Nothing
// else of the worker's environment is for a client that talks to strangers.
func forNPM(name string) bool {
	switch strings.ToLower(name) {
	case "path", "home", "http_proxy", "https_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "node_extra_ca_certs":
		return true
	}
	return strings.HasPrefix(strings.ToLower(name), "npm_config_")
}

// fill adds what servers that are processes need, as far as this worker has it.
func (h hosting) fill(host *runtime.Host, log *slog.Logger) {
	host.StateDir, host.CacheDir, host.Processes, host.TenantProcesses = h.StateDir, h.CacheDir, h.Processes, h.TenantProcesses
	if h.StateDir != "" {
		if err := os.MkdirAll(h.StateDir, 0o711); err != nil {
			log.Warn("this worker hosts no servers that keep state: LATCHKEY_STATE_DIR cannot be used", "err", err)
			host.StateDir = ""
		}
	}
	if h.CacheDir != "" {
		host.Packages = packages.New(packages.Options{Dir: filepath.Join(h.CacheDir, "packages"), NPM: h.NPM, Node: h.Node, Env: h.NPMEnv, MaxTotal: h.CacheSize, Egress: host.Egress, Log: log})
	}
}
