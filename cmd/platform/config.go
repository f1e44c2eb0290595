package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"latchkey/internal/egress"
	"latchkey/internal/peers"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/vault"
)

// config is everything that the environment decides. Zero values work for
// `platform dev`; `serve` asks for what it needs.
type config struct {
	BaseURL        string      // LATCHKEY_BASE_URL: https://{tenant}.example.com
	Listen         string      // LATCHKEY_LISTEN: host:port of the edge
	MetricsListen  string      // LATCHKEY_METRICS_LISTEN: host:port, loopback by default
	DatabaseURL    secret.Text // DATABASE_URL: as latchkey_app
	OwnerURL       secret.Text // LATCHKEY_OWNER_DATABASE_URL: for migrations
	NATSURL        secret.Text // LATCHKEY_NATS_URL: an external NATS; empty for the embedded one
	NATSListen     string      // LATCHKEY_NATS_LISTEN: where the embedded one takes workers
	WorkerPassword secret.Text // LATCHKEY_NATS_WORKER_PASSWORD: for workers on other machines
	Vault          vault.Config
	APIRate        int            // LATCHKEY_API_RATE: requests a second that one caller may make of an edge's API; 100
	MailURL        secret.Text    // LATCHKEY_SMTP_URL: smtps://user:password@host:465?from=…; empty for no mail
	MailCACert     []byte         // of the file LATCHKEY_SMTP_CACERT: the mail server's own authority
	ValkeyURL      secret.Text    // LATCHKEY_VALKEY_URL: redis:// or rediss://, where several edges count calls together; empty: each counts for itself
	Edges          int            // LATCHKEY_EDGES: how many edges share the limits while Valkey is away; 0: as many as were last heard
	PeerURL        string         // LATCHKEY_PEER_URL: this edge as other edges reach it, http://10.0.0.7:8080; empty: its sessions are found on it alone
	AllowedOrigins []string       // LATCHKEY_ALLOWED_ORIGINS, with commas
	Egress         []netip.Prefix // LATCHKEY_EGRESS_ALLOW: ranges that are not public where upstreams' authorization servers may be, as workers have it
	TrustedProxies bool           // LATCHKEY_BEHIND_PROXY=true: the last X-Forwarded-For entry is the caller
	LogLevel       slog.Level
}

func readConfig() (config, error) {
	c := config{
		BaseURL:        os.Getenv("LATCHKEY_BASE_URL"),
		Listen:         or(os.Getenv("LATCHKEY_LISTEN"), "127.0.0.1:8080"),
		MetricsListen:  or(os.Getenv("LATCHKEY_METRICS_LISTEN"), "127.0.0.1:9090"),
		DatabaseURL:    secret.Text(os.Getenv("DATABASE_URL")),
		OwnerURL:       secret.Text(os.Getenv("LATCHKEY_OWNER_DATABASE_URL")),
		NATSURL:        secret.Text(os.Getenv("LATCHKEY_NATS_URL")),
		NATSListen:     or(os.Getenv("LATCHKEY_NATS_LISTEN"), "127.0.0.1:4222"),
		WorkerPassword: secret.Text(os.Getenv("LATCHKEY_NATS_WORKER_PASSWORD")),
		Vault: vault.Config{
			Address: os.Getenv("VAULT_ADDR"), Token: secret.Text(os.Getenv("VAULT_TOKEN")),
			AppRole: vault.AppRole{RoleID: os.Getenv("VAULT_ROLE_ID"), SecretID: secret.Text(os.Getenv("VAULT_SECRET_ID"))},
		},
		ValkeyURL:      secret.Text(os.Getenv("LATCHKEY_VALKEY_URL")),
		MailURL:        secret.Text(os.Getenv("LATCHKEY_SMTP_URL")),
		TrustedProxies: os.Getenv("LATCHKEY_BEHIND_PROXY") == "true",
	}
	if v := os.Getenv("LATCHKEY_API_RATE"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 1_000_000 {
			return c, usageError{errors.New("LATCHKEY_API_RATE must be a number from 1 to 1000000: requests a second for one caller")}
		}
		c.APIRate = n
	}
	if v := os.Getenv("LATCHKEY_EDGES"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 || n > 10_000 {
			return c, usageError{errors.New("LATCHKEY_EDGES must be a number from 1 to 10000: how many edges there are")}
		}
		c.Edges = n
	}
	if v := os.Getenv("LATCHKEY_PEER_URL"); v != "" {
		u, err := peers.CheckURL(v)
		if err != nil {
			return c, usageError{fmt.Errorf("LATCHKEY_PEER_URL %w", err)}
		}
		c.PeerURL = u
	}
	var err error
	if c.Egress, err = egress.ParseAllow(os.Getenv("LATCHKEY_EGRESS_ALLOW")); err != nil {
		return c, usageError{fmt.Errorf("LATCHKEY_EGRESS_ALLOW: %w", err)}
	}
	for o := range strings.SplitSeq(os.Getenv("LATCHKEY_ALLOWED_ORIGINS"), ",") {
		if o = strings.TrimSpace(o); o != "" {
			c.AllowedOrigins = append(c.AllowedOrigins, o)
		}
	}
	if v := os.Getenv("LATCHKEY_LOG_LEVEL"); v != "" {
		if err := c.LogLevel.UnmarshalText([]byte(v)); err != nil {
			return c, errors.New("LATCHKEY_LOG_LEVEL must be debug, info, warn or error")
		}
	}
	for name, into := range map[string]*[]byte{"VAULT_CACERT": &c.Vault.CACert, "LATCHKEY_SMTP_CACERT": &c.MailCACert} {
		path := os.Getenv(name)
		if path == "" {
			continue
		}
		pem, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("%s: %w", name, err)
		}
		*into = pem
	}
	return c, nil
}

// need names the settings that are missing, all at once.
func need(settings ...[2]string) error {
	var missing []string
	for _, s := range settings {
		if s[1] == "" {
			missing = append(missing, s[0])
		}
	}
	if len(missing) > 0 {
		return usageError{fmt.Errorf("not set: %s; the README's section on production lists what each is, and `platform dev` needs none", strings.Join(missing, ", "))}
	}
	return nil
}

func (c config) sites() (*site.Sites, error) {
	s, err := site.Parse(c.BaseURL)
	if err != nil {
		return nil, usageError{fmt.Errorf("LATCHKEY_BASE_URL: %w", err)}
	}
	return s, nil
}

func or(v, def string) string {
	if v == "" {
		return def
	}
	return v
}

// giveRoomToGC trades memory for time. What is live on an edge is small, and
// each MCP message costs a 32 KB buffer, so that by the default it would
// collect dozens of times a second under load: GOGC=400 about doubles what it
// serves. The limit bounds what many large requests at once may take. An
// operator who sets either variable knows better.
func giveRoomToGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(1 << 30)
	}
}
