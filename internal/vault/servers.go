package vault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Bounds of a database credential's life.
const (
	DefaultTTL = 10 * time.Minute
	MinTTL     = 5 * time.Second
	MaxTTL     = time.Hour
	// perCallTTL is the life of a write credential that is not cached: a call
	// has at most a minute, and it is revoked when the call ends.
	perCallTTL = 90 * time.Second
)

// Database is a tenant's Postgres and the account that Vault uses there. That
// account needs CREATEROLE, ADMIN OPTION on the groups and pg_signal_backend.
type Database struct {
	Host          string
	Port          int
	Database      string
	SSLMode       string // as libpq has it; empty is verify-full
	SSLRootCert   string // a file on Vault's machine, for an authority of the tenant's own
	AdminUser     string
	AdminPassword secret.Text
	// ReadGroups and WriteGroups are the roles whose rights a credential has.
	// It never has rights of its own, so that it can always be dropped.
	ReadGroups  []string
	WriteGroups []string
	// TTL is the life of a cached credential; 0 is DefaultTTL.
	TTL time.Duration
	// CachedWrites keeps write credentials like read ones, instead of one for
	// each call.
	CachedWrites bool
	// PerUser gives each user a credential of their own for reads too.
	PerUser bool
	// ConnectionLimit of each credential; 0 is 4.
	ConnectionLimit int
	// StatementTimeout is the database's own bound, behind that of each call;
	// 0 is a minute.
	StatementTimeout time.Duration
}

// Endpoint is a database that no tenant may name.
type Endpoint struct {
	Host     string
	Port     int
	Database string // empty for all of them
}

// Servers writes what Vault knows of hosted servers. It is the control
// plane's; a worker has none.
type Servers struct {
	client *Client
	refuse []Endpoint
	lookup func(ctx context.Context, host string) ([]net.IPAddr, error)
}

// NewServers makes a Servers over the platform's client. refuse names the
// platform's own databases.
func NewServers(c *Client, refuse ...Endpoint) *Servers {
	return &Servers{client: c, refuse: refuse, lookup: net.DefaultResolver.LookupIPAddr}
}

// PutDatabase makes the server's credentials obtainable: connection, database
// roles, policies and JWT roles. Vault logs in to the database at once, so a
// wrong host or password is known here. When anything changes, the credentials
// that are out are revoked first.
func (s *Servers) PutDatabase(ctx context.Context, t tenants.ID, id tenants.ServerID, d Database) (err error) {
	defer fault.Wrap(&err, "vault.PutDatabase(%s, %s)", t, id)
	if err := checkServer(t, id); err != nil {
		return err
	}
	if err := d.normalize(); err != nil {
		return err
	}
	if err := s.refuseOwn(ctx, &d); err != nil {
		return err
	}
	accessor, err := authAccessor(ctx, s.client)
	if err != nil {
		return err
	}
	if err := s.revokeIfChanged(ctx, t, id, &d); err != nil {
		return err
	}
	if err := s.client.write(ctx, databaseMount+"/config/"+configName(t, id), d.config(t, id)); err != nil {
		return d.explain(err)
	}
	for _, a := range accesses {
		if err := s.client.write(ctx, databaseMount+"/roles/"+roleName(t, id, a), d.role(t, id, a)); err != nil {
			return err
		}
		// A lease ends with its token, so the token lives as long as the
		// credential, and it is a service token because only those can be
		// revoked. A batch token would be cheaper by a write to storage, which
		// matters where there is a login for each call; reads share one.
		l := locks{access: a, tokenType: "service", ttl: d.ttl(a), keep: a == registry.ReadAccess || d.CachedWrites}
		if err := s.open(ctx, t, id, accessor, l); err != nil {
			return err
		}
	}
	return nil
}

// DeleteServer revokes every credential of the server and removes all that
// Vault knows of it. It may be repeated. When the tenant's database is away
// its users stay there until their VALID UNTIL, and nobody can log in to Vault
// for another.
func (s *Servers) DeleteServer(ctx context.Context, t tenants.ID, id tenants.ServerID) (err error) {
	defer fault.Wrap(&err, "vault.DeleteServer(%s, %s)", t, id)
	if err := checkServer(t, id); err != nil {
		return err
	}
	// First close the doors, then revoke what is out, then forget how.
	for _, a := range accesses {
		if err := s.client.remove(ctx, "auth/"+authMount+"/role/"+roleName(t, id, a)); err != nil {
			return err
		}
		if err := s.client.remove(ctx, "sys/policies/acl/"+policyName(t, id, a)); err != nil {
			return err
		}
	}
	if err := s.revoke(ctx, t, id); err != nil {
		return err
	}
	for _, a := range accesses {
		if err := s.client.remove(ctx, databaseMount+"/roles/"+roleName(t, id, a)); err != nil {
			return err
		}
	}
	for _, folder := range []string{serverFolder(t, id), accountFolder(t, id)} {
		if err := s.removeSecrets(ctx, folder); err != nil {
			return err
		}
	}
	return s.client.remove(ctx, databaseMount+"/config/"+configName(t, id))
}

// DeleteTenant does DeleteServer for every server that Vault knows of: those
// with a database, and those with secrets.
func (s *Servers) DeleteTenant(ctx context.Context, t tenants.ID) (err error) {
	defer fault.Wrap(&err, "vault.DeleteTenant(%s)", t)
	if _, err := tenants.ParseID(string(t)); err != nil {
		return err
	}
	databases, err := s.client.list(ctx, databaseMount+"/config")
	if err != nil {
		return err
	}
	static, err := s.client.list(ctx, kvMount+"/metadata/"+tenantFolder(t))
	if err != nil {
		return err
	}
	for _, name := range databases {
		if id, mine := strings.CutPrefix(name, string(t)+"."); mine {
			static = append(static, id)
		}
	}
	for _, name := range static {
		// What is not named as a server is none of ours, and goes below.
		id, err := tenants.ParseServerID(strings.TrimSuffix(name, "/"))
		if err != nil {
			continue
		}
		if err := s.DeleteServer(ctx, t, id); err != nil {
			return err
		}
	}
	if err := s.removeSecrets(ctx, "accounts/"+string(t)+"/"); err != nil {
		return err
	}
	return s.removeSecrets(ctx, tenantFolder(t))
}

// revoke ends all credentials of a server. Those that cannot be dropped,
// because the database is away, are forgotten: a lease that can never be
// revoked would keep Vault trying for ever.
func (s *Servers) revoke(ctx context.Context, t tenants.ID, id tenants.ServerID) error {
	for _, a := range accesses {
		prefix := databaseMount + "/creds/" + roleName(t, id, a)
		_, err := s.client.own(ctx, http.MethodPut, "sys/leases/revoke-prefix/"+prefix, map[string]any{"sync": true})
		if err == nil {
			continue
		}
		if fault.HasCode(err, fault.CredentialsAway) && s.client.Ready(ctx) != nil {
			return err
		}
		if _, err := s.client.own(ctx, http.MethodPut, "sys/leases/revoke-force/"+prefix, nil); err != nil {
			return fmt.Errorf("revoke %s: %w", prefix, err)
		}
	}
	return nil
}

// revokeIfChanged revokes before a change, because afterwards Vault would look
// for the old users in the new database.
func (s *Servers) revokeIfChanged(ctx context.Context, t tenants.ID, id tenants.ServerID, d *Database) error {
	config, err := s.client.read(ctx, databaseMount+"/config/"+configName(t, id))
	if err != nil || config == nil {
		return err
	}
	details, _ := config["connection_details"].(map[string]any)
	changed := details["connection_url"] != d.url() || details["username"] != d.AdminUser
	for _, a := range accesses {
		role, err := s.client.read(ctx, databaseMount+"/roles/"+roleName(t, id, a))
		if err != nil {
			return err
		}
		changed = changed || !reflect.DeepEqual(stringList(role["creation_statements"]), d.creation(a))
	}
	if !changed {
		return nil
	}
	return s.revoke(ctx, t, id)
}

func checkServer(t tenants.ID, id tenants.ServerID) error {
	if _, err := tenants.ParseID(string(t)); err != nil {
		return err
	}
	_, err := tenants.ParseServerID(string(id))
	return err
}

// refuseOwn refuses the platform's own databases, under whatever name their
// host is given.
func (s *Servers) refuseOwn(ctx context.Context, d *Database) error {
	for _, e := range s.refuse {
		if e.Port != d.Port || (e.Database != "" && e.Database != d.Database) {
			continue
		}
		same, err := s.sameHost(ctx, e.Host, d.Host)
		if err != nil {
			return err
		}
		if same {
			return fault.New(fault.InvalidSpec, "This connection names the platform's own database. Name a database of your own.")
		}
	}
	return nil
}

func (s *Servers) sameHost(ctx context.Context, a, b string) (bool, error) {
	if strings.EqualFold(a, b) {
		return true, nil
	}
	theirs, err := s.addresses(ctx, b)
	if err != nil {
		return false, fault.New(fault.InvalidSpec, "The host of the connection has no address. Check its spelling.").Because(err)
	}
	ours, err := s.addresses(ctx, a)
	if err != nil {
		return false, err
	}
	for _, x := range theirs {
		// Every address of this machine reaches what listens on loopback or
		// on all addresses.
		if x.IsUnspecified() && slices.ContainsFunc(ours, net.IP.IsLoopback) {
			return true, nil
		}
		for _, y := range ours {
			if x.Equal(y) || (x.IsLoopback() && y.IsLoopback()) {
				return true, nil
			}
		}
	}
	return false, nil
}

func (s *Servers) addresses(ctx context.Context, host string) ([]net.IP, error) {
	if ip := net.ParseIP(host); ip != nil {
		return []net.IP{ip}, nil
	}
	if strings.HasPrefix(host, "/") { // the folder of a socket
		return []net.IP{net.IPv4(127, 0, 0, 1)}, nil
	}
	found, err := s.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	out := make([]net.IP, len(found))
	for i, a := range found {
		out[i] = a.IP
	}
	return out, nil
}

var (
	hostPattern  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$`)
	groupPattern = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)
)

// ValidGroup checks the name of a group role. The charset is narrower than
// Postgres's, because the name stands in a statement that Vault runs; roles
// that Postgres itself defines reach beyond one database.
func ValidGroup(name string) error {
	if !groupPattern.MatchString(name) || strings.HasPrefix(name, "pg_") || name == "public" || name == "none" {
		return fmt.Errorf("%.70q cannot be a group: use a role of your own, named with a-z, 0-9 and _, not beginning with pg_", name)
	}
	return nil
}

// normalize fills what is left out and refuses what cannot be used.
func (d *Database) normalize() error {
	bad := func(format string, args ...any) error { return fault.New(fault.InvalidSpec, format, args...) }
	if d.Port == 0 {
		d.Port = 5432
	}
	if d.SSLMode == "" {
		d.SSLMode = "verify-full"
	}
	if d.TTL == 0 {
		d.TTL = DefaultTTL
	}
	if d.ConnectionLimit == 0 {
		d.ConnectionLimit = 4
	}
	if d.StatementTimeout == 0 {
		d.StatementTimeout = time.Minute
	}
	if len(d.WriteGroups) == 0 {
		d.WriteGroups = d.ReadGroups // write tools then fail in the database, not here
	}
	switch {
	case !hostPattern.MatchString(d.Host) && net.ParseIP(d.Host) == nil:
		return bad("The host of the connection must be a name or an address.")
	case d.Port < 1 || d.Port > 65535:
		return bad("The port of the connection must be from 1 to 65535.")
	case d.Database == "" || len(d.Database) > 63:
		return bad("The connection must name a database, in 63 bytes at most.")
	case !slices.Contains([]string{"disable", "require", "verify-ca", "verify-full"}, d.SSLMode):
		return bad("sslmode must be verify-full, verify-ca or require, or disable on this machine.")
	case d.AdminUser == "" || d.AdminPassword == "":
		return bad("The connection needs the name and password of the account that Vault uses.")
	case strings.Contains(d.AdminUser+d.AdminPassword.Reveal(), "{{"):
		return bad("Name and password of the account may not hold {{.")
	case len(d.ReadGroups) == 0:
		return bad("The connection needs at least one group for reading.")
	case d.TTL < MinTTL || d.TTL > MaxTTL:
		return bad("The life of a credential must be from %s to %s.", MinTTL, MaxTTL)
	case d.ConnectionLimit < 1 || d.ConnectionLimit > 1000:
		return bad("The connection limit of a credential must be from 1 to 1000.")
	}
	for _, g := range slices.Concat(d.ReadGroups, d.WriteGroups) {
		if err := ValidGroup(g); err != nil {
			return bad("%s.", err)
		}
	}
	return nil
}

func (d *Database) ttl(a registry.Access) time.Duration {
	if a == registry.WriteAccess && !d.CachedWrites {
		return perCallTTL
	}
	return d.TTL
}

// url leaves name and password to Vault, which fills and escapes them.
func (d *Database) url() string {
	q := url.Values{"sslmode": {d.SSLMode}, "connect_timeout": {"3"}}
	if d.SSLRootCert != "" {
		q.Set("sslrootcert", d.SSLRootCert)
	}
	return "postgresql://{{username}}:{{password}}@" + net.JoinHostPort(d.Host, strconv.Itoa(d.Port)) + "/" + url.PathEscape(d.Database) + "?" + q.Encode()
}

func (d *Database) config(t tenants.ID, id tenants.ServerID) map[string]any {
	return map[string]any{
		"plugin_name":             "postgresql-database-plugin",
		"allowed_roles":           []string{roleName(t, id, registry.ReadAccess), roleName(t, id, registry.WriteAccess)},
		"connection_url":          d.url(),
		"username":                d.AdminUser,
		"password":                d.AdminPassword.Reveal(),
		"password_authentication": "scram-sha-256", // since Vault 1.14: the password is hashed before it is sent
		"max_open_connections":    4,
		"max_idle_connections":    1,
		"max_connection_lifetime": "5m",
		"username_template":       d.usernames(t, id),
	}
}

// usernames is the template for a credential's name: tenant, then the user it
// was made for or `shared`, then 16 random characters: 60 bytes at most of 63.
// The display name is `latchkey-<tenant>:<user>`.
func (d *Database) usernames(t tenants.ID, id tenants.ServerID) string {
	user := fmt.Sprintf(`(.DisplayName | replace "%s-%s:" "" | truncate 20)`, authMount, t)
	who := user
	switch {
	case d.PerUser:
	case d.CachedWrites:
		who = `"shared"`
	default:
		who = fmt.Sprintf(`(or (and (eq .RoleName %q) %s) "shared")`, roleName(t, id, registry.WriteAccess), user)
	}
	return fmt.Sprintf(`{{ printf "lk_%s_%%s_%%s" %s (random 16) | lowercase | truncate 63 }}`, t, who)
}

func (d *Database) role(t tenants.ID, id tenants.ServerID, a registry.Access) map[string]any {
	return map[string]any{
		"db_name":             configName(t, id),
		"default_ttl":         seconds(d.ttl(a)),
		"max_ttl":             seconds(d.ttl(a)),
		"creation_statements": d.creation(a),
		// Sessions end before the role does. VALID UNTIL, the last resort,
		// stops logins and leaves sessions open.
		"revocation_statements": []string{
			`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}';`,
			`DROP ROLE IF EXISTS "{{name}}";`,
		},
	}
}

func (d *Database) creation(a registry.Access) []string {
	groups := d.ReadGroups
	if a == registry.WriteAccess {
		groups = d.WriteGroups
	}
	quoted := make([]string, len(groups))
	for i, g := range groups {
		quoted[i] = `"` + g + `"`
	}
	out := []string{
		fmt.Sprintf(`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' CONNECTION LIMIT %d IN ROLE %s;`,
			d.ConnectionLimit, strings.Join(quoted, ", ")),
		fmt.Sprintf(`ALTER ROLE "{{name}}" SET statement_timeout = '%dms';`, d.StatementTimeout.Milliseconds()),
		fmt.Sprintf(`ALTER ROLE "{{name}}" SET idle_in_transaction_session_timeout = '%dms';`, d.StatementTimeout.Milliseconds()),
	}
	if a == registry.ReadAccess {
		// The groups are the boundary; this catches a group that can do more.
		out = append(out, `ALTER ROLE "{{name}}" SET default_transaction_read_only = on;`)
	}
	return out
}

// explain says what to look at when Vault cannot log in to the database. The
// database's own words stay in the log.
func (d *Database) explain(err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	where := net.JoinHostPort(d.Host, strconv.Itoa(d.Port))
	switch {
	case saysAny(err, "password authentication failed", "SQLSTATE 28"):
		return fault.New(fault.InvalidSpec, "%s refused the account %s. Check its name and password.", where, d.AdminUser).Because(err)
	case saysAny(err, "SQLSTATE 3D000"):
		return fault.New(fault.InvalidSpec, "%s has no database %s. Check the name.", where, d.Database).Because(err)
	case saysAny(err, "verifying connection", "creating database object"):
		return fault.New(fault.InvalidSpec, "Vault cannot connect to %s. Check host, port and sslmode, and that Vault may reach it.", where).Because(err)
	}
	return err
}

func seconds(d time.Duration) string { return strconv.Itoa(int(d.Seconds())) + "s" }
