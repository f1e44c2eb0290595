package sqltool

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/vault"
)

// connection is the normalized form. There is no secret in it: the password of
// the account that Vault uses is in the secrets, under adminPassword.
type connection struct {
	Host        string      `json:"host"`
	Port        int         `json:"port"`
	Database    string      `json:"database"`
	SSLMode     string      `json:"sslmode"`
	SSLRootCert string      `json:"sslrootcert,omitempty"`
	AdminUser   string      `json:"admin_user"`
	ReadGroups  []string    `json:"read_groups"`
	WriteGroups []string    `json:"write_groups,omitempty"`
	Replica     *replica    `json:"replica,omitempty"`
	Credentials credentials `json:"credentials"`
}

type replica struct {
	Host string `json:"host"`
	Port int    `json:"port"`
}

type credentials struct {
	TTL          time.Duration `json:"ttl"`
	CachedWrites bool          `json:"cached_writes,omitempty"`
	PerUser      bool          `json:"per_user,omitempty"`
	Connections  int           `json:"connections"`
}

// adminPassword names the only secret of a connection, by its path.
const adminPassword = "admin.password"

const defaultConnections = 8

// checkConnection reads a declared connection (runtime.Kind).
func checkConnection(n *yaml.Node) (json.RawMessage, map[string]secret.Text, []registry.Problem) {
	r := &registry.Reader{}
	o := r.Object(n, "connection", "host", "port", "database", "sslmode", "sslrootcert", "admin", "groups", "replica", "credentials")
	c := connection{
		Host: address(o, "host"), Port: port(o, "port"), Database: o.Needed("database", "name the database"),
		SSLMode: o.Text("sslmode"), SSLRootCert: o.Text("sslrootcert"),
	}
	checkSSLMode(o, &c)
	secrets := map[string]secret.Text{}
	if needs(o, "admin", "write admin: {username: …, password: {env: NAME}}") {
		admin := r.Object(o.Value("admin"), "connection.admin", "username", "password")
		c.AdminUser = admin.Needed("username", "name the account that Vault uses")
		if p := referred(admin, "password"); p != "" {
			secrets[adminPassword] = p
		}
	}
	if needs(o, "groups", "write groups: {read: [a_role], write: [another]}, roles whose rights the tools get") {
		groups := r.Object(o.Value("groups"), "connection.groups", "read", "write")
		c.ReadGroups, c.WriteGroups = groupNames(groups, "read"), groupNames(groups, "write")
		if len(c.ReadGroups) == 0 {
			groups.Bad("read", "is missing", "name the roles whose rights reading tools get, such as read: [shop_reader]")
		}
	}
	if rep := o.Value("replica"); rep != nil {
		ro := r.Object(rep, "connection.replica", "host", "port")
		c.Replica = &replica{Host: address(ro, "host"), Port: port(ro, "port")}
	}
	c.Credentials = readCredentials(o)
	if len(r.Problems) > 0 {
		slices.SortStableFunc(r.Problems, func(a, b registry.Problem) int { return a.Line - b.Line })
		return nil, nil, r.Problems
	}
	normalized, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return normalized, secrets, nil
}

// needs reports whether a mapping is there, and that it should be.
func needs(o registry.Object, key, fix string) bool {
	if !o.Has(key) && o.Node != nil {
		o.Bad(key, "is missing", fix)
	}
	return o.Has(key)
}

func address(o registry.Object, key string) string {
	host := o.Needed(key, "write a name or an address")
	if host != "" && (strings.ContainsAny(host, "/,:?#@ ") && net.ParseIP(host) == nil) {
		o.Bad(key, "is no host", "write one name or address, without a port")
	}
	return host
}

func port(o registry.Object, key string) int { return o.Whole(key, 5432, 1, 65535) }

func checkSSLMode(o registry.Object, c *connection) {
	switch c.SSLMode {
	case "":
		c.SSLMode = "verify-full"
	case "verify-full", "verify-ca", "require":
	case "disable":
		if ip := net.ParseIP(c.Host); c.Host != "localhost" && (ip == nil || !ip.IsLoopback()) && c.Host != "" {
			o.Bad("sslmode", "is disable for another machine", "write verify-full; without encryption passwords and rows can be read on the way")
		}
	default:
		o.Bad("sslmode", fmt.Sprintf("%.40q is not known", c.SSLMode), "write verify-full, verify-ca or require, or disable on this machine")
	}
}

// referred takes a secret only if it was referred to.
func referred(o registry.Object, key string) secret.Text {
	n := o.Value(key)
	fix := fmt.Sprintf("write %s: {env: NAME} or {file: PATH}", key)
	switch {
	case n == nil:
		o.Bad(key, "is missing", fix)
	case !registry.Referred(n):
		o.Bad(key, "is written in the file", fix+"; secrets do not belong into files that are shared")
	case n.Value == "":
		o.Bad(key, "refers to something that is empty", "set it")
	default:
		return secret.Text(n.Value)
	}
	return ""
}

func groupNames(o registry.Object, key string) []string {
	names := o.Texts(key)
	for _, g := range names {
		if err := vault.ValidGroup(g); err != nil {
			o.Bad(key, fmt.Sprintf("%.70q cannot be a group", g), "name a role of your own with a-z, 0-9 and _, not one of Postgres itself")
		}
	}
	return names
}

func readCredentials(o registry.Object) credentials {
	c := credentials{TTL: vault.DefaultTTL, Connections: defaultConnections}
	n := o.Value("credentials")
	if n == nil {
		return c
	}
	co := o.Object(n, "connection.credentials", "ttl", "write", "per_user", "connections")
	c.TTL = co.Duration("ttl", vault.DefaultTTL, vault.MinTTL, vault.MaxTTL)
	c.PerUser = co.Flag("per_user")
	c.Connections = co.Whole("connections", defaultConnections, 1, 100)
	switch w := co.Text("write"); w {
	case "", "per_call":
	case "cached":
		c.CachedWrites = true
	default:
		co.Bad("write", fmt.Sprintf("%.40q is not known", w), "write per_call, or cached to keep one credential for several calls")
	}
	return c
}

// Database turns a connection, as checked, into what Vault needs of it.
func Database(normalized json.RawMessage, secrets map[string]secret.Text) (vault.Database, error) {
	var c connection
	if err := json.Unmarshal(normalized, &c); err != nil {
		return vault.Database{}, fmt.Errorf("sqltool: read connection: %w", err)
	}
	return vault.Database{
		Host: c.Host, Port: c.Port, Database: c.Database, SSLMode: c.SSLMode, SSLRootCert: c.SSLRootCert,
		AdminUser: c.AdminUser, AdminPassword: secrets[adminPassword], ReadGroups: c.ReadGroups, WriteGroups: c.WriteGroups,
		TTL: c.Credentials.TTL, CachedWrites: c.Credentials.CachedWrites, PerUser: c.Credentials.PerUser,
		// Two revisions of a server share a credential while one replaces the
		// other, and a session that was closed counts until its process is gone.
		ConnectionLimit: 2*c.Credentials.Connections + 4,
	}, nil
}

// source says where the credentials come from (runtime.Kind).
func source(normalized json.RawMessage) string {
	var c connection
	if json.Unmarshal(normalized, &c) != nil || c.Host == "" {
		return ""
	}
	writes := "one for each call that writes"
	if c.Credentials.CachedWrites {
		writes = "for reads and for writes"
	}
	whose := ""
	if c.Credentials.PerUser {
		whose = " of each person's own"
	}
	return fmt.Sprintf("Vault makes database users%s on %s, for %s, %s.", whose, net.JoinHostPort(c.Host, strconv.Itoa(c.Port)), inWords(c.Credentials.TTL), writes)
}

func inWords(d time.Duration) string {
	switch {
	case d == time.Minute:
		return "a minute"
	case d%time.Minute == 0:
		return fmt.Sprintf("%d minutes", int(d.Minutes()))
	}
	return d.String()
}

// address is where to connect for an access.
func (c *connection) address(a registry.Access) (host string, port int) {
	if a == registry.ReadAccess && c.Replica != nil {
		return c.Replica.Host, c.Replica.Port
	}
	return c.Host, c.Port
}

// dsn has no user and password: those belong to a call. Every setting that
// libpq would otherwise take from the environment is given.
func (c *connection) dsn(a registry.Access, application string) string {
	host, port := c.address(a)
	q := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }
	s := "host=" + q(host) + " port=" + strconv.Itoa(port) + " dbname=" + q(c.Database) + " user='none' password='none' sslmode=" + q(c.SSLMode) +
		" sslcert='' sslkey='' target_session_attrs=any connect_timeout=5 application_name=" + q(application)
	if c.SSLRootCert != "" {
		s += " sslrootcert=" + q(c.SSLRootCert)
	} else {
		s += " sslrootcert=''"
	}
	return s
}
