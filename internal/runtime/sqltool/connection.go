package sqltool

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/vault"
)

// connection is the normalized form. There is no secret in it: the password of
// the account that Vault uses is in the secrets, under AdminPassword.
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

// AdminPassword names the only secret of a connection.
const AdminPassword = "admin.password"

// A reference such as `{env: NAME}` or `{file: PATH}` is resolved by whoever
// reads the file, before a kind sees it: the mapping becomes a text with one of
// these tags. The tag is how a kind tells a secret that was referred to from
// one that was written down, which it refuses.
const (
	EnvTag  = "!env"
	FileTag = "!file"
)

const defaultConnections = 8

// checkConnection reads a declared connection (runtime.Kind).
func checkConnection(n *yaml.Node) (json.RawMessage, map[string]secret.Text, []registry.Problem) {
	r := &reader{}
	o := r.object(n, "connection", "host", "port", "database", "sslmode", "sslrootcert", "admin", "groups", "replica", "credentials")
	c := connection{
		Host: o.address("host"), Port: o.port("port"), Database: o.needed("database", "name the database"),
		SSLMode: o.text("sslmode"), SSLRootCert: o.text("sslrootcert"),
	}
	o.sslmode(&c)
	secrets := map[string]secret.Text{}
	admin := r.object(o.values["admin"], "connection.admin", "username", "password")
	c.AdminUser = admin.needed("username", "name the account that Vault uses")
	if p := admin.secret("password"); p != "" {
		secrets[AdminPassword] = p
	}
	groups := r.object(o.values["groups"], "connection.groups", "read", "write")
	c.ReadGroups, c.WriteGroups = groups.groups("read"), groups.groups("write")
	if len(c.ReadGroups) == 0 && groups.node != nil {
		groups.bad("read", "is missing", "name the roles whose rights reading tools get, such as read: [shop_reader]")
	}
	if rep := o.values["replica"]; rep != nil {
		ro := r.object(rep, "connection.replica", "host", "port")
		c.Replica = &replica{Host: ro.address("host"), Port: ro.port("port")}
	}
	c.Credentials = o.credentials()
	if len(r.problems) > 0 {
		return nil, nil, r.problems
	}
	normalized, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return normalized, secrets, nil
}

func (o object) address(key string) string {
	host := o.needed(key, "write a name or an address")
	if o.unresolved(key) {
		o.bad(key, "is a reference that was not resolved", "set the variable, or write the "+key)
	} else if host != "" && (strings.ContainsAny(host, "/,:?#@ ") && net.ParseIP(host) == nil) {
		o.bad(key, "is no host", "write one name or address, without a port")
	}
	return host
}

func (o object) port(key string) int { return o.whole(key, 5432, 1, 65535) }

// unresolved reports whether the value is still a reference.
func (o object) unresolved(key string) bool {
	n := o.values[key]
	return n != nil && n.Kind == yaml.MappingNode
}

func (o object) sslmode(c *connection) {
	switch c.SSLMode {
	case "":
		c.SSLMode = "verify-full"
	case "verify-full", "verify-ca", "require":
	case "disable":
		if ip := net.ParseIP(c.Host); c.Host != "localhost" && (ip == nil || !ip.IsLoopback()) && c.Host != "" {
			o.bad("sslmode", "is disable for another machine", "write verify-full; without encryption passwords and rows can be read on the way")
		}
	default:
		o.bad("sslmode", fmt.Sprintf("%.40q is not known", c.SSLMode), "write verify-full, verify-ca or require, or disable on this machine")
	}
}

// secret takes a text only if it was referred to. A reference that is not
// resolved yet is fine: a file can be checked where its secrets are not.
func (o object) secret(key string) secret.Text {
	n := o.values[key]
	fix := fmt.Sprintf("write %s: {env: NAME} or {file: PATH}", key)
	switch {
	case n == nil:
		if o.node != nil {
			o.bad(key, "is missing", fix)
		}
	case n.Kind == yaml.MappingNode && len(n.Content) == 2 && (n.Content[0].Value == "env" || n.Content[0].Value == "file"):
	case n.Kind != yaml.ScalarNode || (n.Tag != EnvTag && n.Tag != FileTag):
		o.bad(key, "is written in the file", fix+"; secrets do not belong into files that are shared")
	case n.Value == "":
		o.bad(key, "refers to something that is empty", "set it")
	default:
		return secret.Text(n.Value)
	}
	return ""
}

func (o object) groups(key string) []string {
	names := o.texts(key)
	for _, g := range names {
		if err := vault.ValidGroup(g); err != nil {
			o.bad(key, fmt.Sprintf("%.70q cannot be a group", g), "name a role of your own with a-z, 0-9 and _, not one of Postgres itself")
		}
	}
	return names
}

func (o object) credentials() credentials {
	c := credentials{TTL: vault.DefaultTTL, Connections: defaultConnections}
	n := o.values["credentials"]
	if n == nil {
		return c
	}
	co := o.object(n, "connection.credentials", "ttl", "write", "per_user", "connections")
	c.TTL = co.duration("ttl", vault.DefaultTTL, vault.MinTTL, vault.MaxTTL)
	c.PerUser = co.flag("per_user")
	c.Connections = co.whole("connections", defaultConnections, 1, 100)
	switch w := co.text("write"); w {
	case "", "per_call":
	case "cached":
		c.CachedWrites = true
	default:
		co.bad("write", fmt.Sprintf("%.40q is not known", w), "write per_call, or cached to keep one credential for several calls")
	}
	return c
}

// Database turns a connection, as checked, into what Vault needs of it.
func Database(normalized json.RawMessage, secrets map[string]secret.Text) (vault.Database, error) {
	var c connection
	if err := json.Unmarshal(normalized, &c); err != nil {
		return vault.Database{}, fmt.Errorf("sqltool.Database: %w", err)
	}
	if secrets[AdminPassword] == "" {
		return vault.Database{}, errors.New("sqltool.Database: the password of the account is not known")
	}
	return vault.Database{
		Host: c.Host, Port: c.Port, Database: c.Database, SSLMode: c.SSLMode, SSLRootCert: c.SSLRootCert,
		AdminUser: c.AdminUser, AdminPassword: secrets[AdminPassword], ReadGroups: c.ReadGroups, WriteGroups: c.WriteGroups,
		TTL: c.Credentials.TTL, CachedWrites: c.Credentials.CachedWrites, PerUser: c.Credentials.PerUser,
		ConnectionLimit: c.Credentials.Connections,
	}, nil
}

// PerUser reports whether a connection asks for a credential for each user,
// which the opening of a server has to say.
func PerUser(normalized json.RawMessage) bool {
	var c connection
	return json.Unmarshal(normalized, &c) == nil && c.Credentials.PerUser
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
