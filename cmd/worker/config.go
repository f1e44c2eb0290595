package main

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/egress"
	"latchkey/internal/sandbox"
	"latchkey/internal/secret"
)

// config is everything that the environment decides.
type config struct {
	NATSURL    secret.Text         // LATCHKEY_NATS_URL, required; holds the worker's password
	VaultAddr  string              // VAULT_ADDR; empty: only kinds that need no credential run
	VaultCA    string              // VAULT_CACERT, a PEM file
	GrantKeys  []ed25519.PublicKey // LATCHKEY_GRANT_KEYS, base64 with commas
	Name       string              // LATCHKEY_WORKER_NAME; the host's name and the process id
	Pool       string              // LATCHKEY_WORKER_POOL; default
	Slots      int                 // LATCHKEY_WORKER_SLOTS; 64
	DrainFor   time.Duration       // LATCHKEY_WORKER_DRAIN; 25s, less than orchestrators wait before they kill
	LogLevel   slog.Level          // LATCHKEY_LOG_LEVEL; info
	Sandbox    sandbox.Options     // LATCHKEY_SANDBOX and LATCHKEY_SANDBOX_*; see docs/kinds/sandbox.md
	Hosting    hosting             // of tenants' processes
	Egress     []netip.Prefix      // LATCHKEY_EGRESS_ALLOW, ranges that are not public where upstreams may be; none
	hadOwnKeys []string            // standing credentials that were found, and are not used
}

func readConfig(env func(string) string) (config, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	c := config{
		NATSURL:   secret.Text(env("LATCHKEY_NATS_URL")),
		VaultAddr: env("VAULT_ADDR"),
		VaultCA:   env("VAULT_CACERT"),
		Name:      or(env("LATCHKEY_WORKER_NAME"), fmt.Sprintf("%s-%d", strings.ReplaceAll(host, ".", "-"), os.Getpid())),
		Pool:      or(env("LATCHKEY_WORKER_POOL"), "default"),
		Slots:     64,
		DrainFor:  25 * time.Second,
	}
	var errs []error
	wrong := func(name, why string) { errs = append(errs, fmt.Errorf("%s: %s", name, why)) }
	if c.NATSURL == "" {
		wrong("LATCHKEY_NATS_URL", "is required: nats://worker:password@host:port, as the platform prints it")
	}
	if v := env("LATCHKEY_WORKER_SLOTS"); v != "" {
		if c.Slots, err = strconv.Atoi(v); err != nil || c.Slots < 1 || c.Slots > 4096 {
			wrong("LATCHKEY_WORKER_SLOTS", "must be a number from 1 to 4096")
		}
	}
	if v := env("LATCHKEY_WORKER_DRAIN"); v != "" {
		if c.DrainFor, err = time.ParseDuration(v); err != nil || c.DrainFor < 0 {
			wrong("LATCHKEY_WORKER_DRAIN", "must be a duration such as 25s")
		}
	}
	if c.Sandbox, err = sandbox.ReadOptions(env, os.Geteuid()); err != nil {
		errs = append(errs, err)
	}
	if v := env("LATCHKEY_LOG_LEVEL"); v != "" {
		if err := c.LogLevel.UnmarshalText([]byte(v)); err != nil {
			wrong("LATCHKEY_LOG_LEVEL", "must be debug, info, warn or error")
		}
	}
	if c.Egress, err = egress.ParseAllow(env("LATCHKEY_EGRESS_ALLOW")); err != nil {
		wrong("LATCHKEY_EGRESS_ALLOW", err.Error())
	}
	for v := range strings.SplitSeq(env("LATCHKEY_GRANT_KEYS"), ",") {
		if v = strings.TrimSpace(v); v == "" {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(v)
		if err != nil || len(key) != ed25519.PublicKeySize {
			wrong("LATCHKEY_GRANT_KEYS", "must be Ed25519 public keys in base64, with commas between them")
			break
		}
		c.GrantKeys = append(c.GrantKeys, key)
	}
	for _, name := range []string{"VAULT_TOKEN", "VAULT_ROLE_ID", "VAULT_SECRET_ID", "PGPASSWORD", "DATABASE_URL"} {
		if env(name) != "" {
			c.hadOwnKeys = append(c.hadOwnKeys, name)
		}
	}
	return c, errors.Join(errs...)
}

func or(v, def string) string {
	if v == "" {
		return def
	}
	return v
}

// kept is what of the environment tools and their processes may see.
var kept = []string{"PATH", "HOME", "USER", "TMPDIR", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG", "GOTRACEBACK", "GOMAXPROCS", "GOGC", "GOMEMLIMIT"}

// forgetEnvironment leaves nothing in the environment that a tool could read
// or a child process inherit, above all the password for NATS.
func forgetEnvironment() error {
	keep := map[string]string{}
	for _, name := range kept {
		if v, ok := os.LookupEnv(name); ok {
			keep[name] = v
		}
	}
	os.Clearenv()
	for name, v := range keep {
		if err := os.Setenv(name, v); err != nil {
			return err
		}
	}
	return nil
}
