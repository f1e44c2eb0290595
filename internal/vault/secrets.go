package vault

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

const (
	// StaticTTL is how long a worker keeps static secrets that it read, at most.
	StaticTTL = 5 * time.Minute
	// staticTokenTTL bounds a token that reads static secrets. It is a batch
	// token: nothing is stored for it, and nothing has to be revoked. Removing
	// its policy ends what it opens.
	staticTokenTTL = 30 * time.Second

	// ExpiresAt is a field that says when the others are of no use any more, as
	// RFC 3339 has it. Workers drop what they keep by then.
	ExpiresAt = "expires_at"

	maxFields     = 100
	maxFieldBytes = 256 << 10 // of all values together
)

// PutSecrets keeps the secrets of a server's connection, by their paths in it,
// and makes them obtainable for calls: read for calls that read, write for
// those that write, the same where write is nil. With no secret at all only the
// doors are opened, for a server whose secrets are a token or its users' own.
// What Vault has already is not written again. The platform cannot read what
// it wrote.
func (s *Servers) PutSecrets(ctx context.Context, t tenants.ID, id tenants.ServerID, read, write map[string]secret.Text) (err error) {
	defer fault.Wrap(&err, "vault.PutSecrets(%s, %s)", t, id)
	if err := checkServer(t, id); err != nil {
		return err
	}
	accessor, err := authAccessor(ctx, s.client)
	if err != nil {
		return err
	}
	if write == nil {
		write = read
	}
	for _, a := range accesses {
		fields := read
		if a == registry.WriteAccess {
			fields = write
		}
		if err := s.putFields(ctx, connectionPath(t, id, a), fields); err != nil {
			return err
		}
		if err := s.open(ctx, t, id, accessor, locks{access: a, tokenType: "batch", ttl: staticTokenTTL, keep: true}); err != nil {
			return err
		}
	}
	return nil
}

// PutSharedToken keeps fields beside those of the connection, for reading and
// for writing alike: a token of the server's own that the platform renews. They
// may have ExpiresAt. None removes it.
func (s *Servers) PutSharedToken(ctx context.Context, t tenants.ID, id tenants.ServerID, fields map[string]secret.Text) (err error) {
	defer fault.Wrap(&err, "vault.PutSharedToken(%s, %s)", t, id)
	if err := checkServer(t, id); err != nil {
		return err
	}
	for _, a := range accesses {
		if err := s.putFields(ctx, tokenPath(t, id, a), fields); err != nil {
			return err
		}
	}
	return nil
}

// PutUserSecrets keeps fields that only calls of this user get, for reading and
// writing alike. They may have ExpiresAt.
func (s *Servers) PutUserSecrets(ctx context.Context, t tenants.ID, id tenants.ServerID, u tenants.UserID, fields map[string]secret.Text) (err error) {
	defer fault.Wrap(&err, "vault.PutUserSecrets(%s, %s, %s)", t, id, u)
	if err := checkUser(t, id, u); err != nil {
		return err
	}
	return s.putFields(ctx, userPath(t, id, u), fields)
}

// DeleteUserSecrets removes what PutUserSecrets kept. It may be repeated.
func (s *Servers) DeleteUserSecrets(ctx context.Context, t tenants.ID, id tenants.ServerID, u tenants.UserID) (err error) {
	defer fault.Wrap(&err, "vault.DeleteUserSecrets(%s, %s, %s)", t, id, u)
	if err := checkUser(t, id, u); err != nil {
		return err
	}
	return s.putFields(ctx, userPath(t, id, u), nil)
}

// SecretsVersion names the values of a connection's secrets that Vault has, so
// that workers do not use older ones which they keep. It says nothing of them.
// Empty: there are none.
func (s *Servers) SecretsVersion(ctx context.Context, t tenants.ID, id tenants.ServerID) (_ string, err error) {
	defer fault.Wrap(&err, "vault.SecretsVersion(%s, %s)", t, id)
	if err := checkServer(t, id); err != nil {
		return "", err
	}
	var versions []string
	for _, a := range accesses {
		m, err := s.metadata(ctx, connectionPath(t, id, a))
		if err != nil {
			return "", err
		}
		if m.version != "" {
			versions = append(versions, mode(a)+"@"+m.version)
		}
	}
	return strings.Join(versions, " "), nil
}

func checkUser(t tenants.ID, id tenants.ServerID, u tenants.UserID) error {
	if err := checkServer(t, id); err != nil {
		return err
	}
	_, err := tenants.ParseUserID(string(u))
	return err
}

// putFields writes one secret, unless it has these values already, and removes
// it when there are none. Only the newest version is kept: what was replaced is
// gone.
func (s *Servers) putFields(ctx context.Context, path string, fields map[string]secret.Text) error {
	if len(fields) == 0 {
		return s.client.remove(ctx, kvMount+"/metadata/"+path)
	}
	data, err := plainFields(fields)
	if err != nil {
		return err
	}
	code, err := s.code(ctx, path, data)
	if err != nil {
		return err
	}
	have, err := s.metadata(ctx, path)
	if err != nil {
		return err
	}
	if have.code == code {
		return nil
	}
	written, err := s.client.own(ctx, http.MethodPost, kvMount+"/data/"+path, map[string]any{"data": data})
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if written == nil {
		return fmt.Errorf("write %s: Vault did not say which version it is", path)
	}
	// The code names the version that it is of: one that was left from a version
	// before matches nothing.
	return s.client.write(ctx, kvMount+"/metadata/"+path, map[string]any{
		"max_versions": 1, "custom_metadata": map[string]any{"code": code, "code_of": number(written.Data["version"])},
	})
}

// removeSecrets deletes every static secret below a folder that ends in `/`.
func (s *Servers) removeSecrets(ctx context.Context, folder string) error {
	keys, err := s.client.list(ctx, kvMount+"/metadata/"+folder)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if strings.HasSuffix(k, "/") {
			err = s.removeSecrets(ctx, folder+k)
		} else {
			err = s.client.remove(ctx, kvMount+"/metadata/"+folder+k)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func plainFields(fields map[string]secret.Text) (map[string]string, error) {
	data, size := make(map[string]string, len(fields)), 0
	for name, value := range fields {
		data[name] = value.Reveal()
		size += len(name) + len(value)
	}
	if len(fields) > maxFields || size > maxFieldBytes {
		return nil, fault.New(fault.InvalidSpec, "These secrets are too many or too large: a server may have %d, of %d KB together.", maxFields, maxFieldBytes>>10)
	}
	return data, nil
}

// code stands for values at a path. Vault makes it with a key that never
// leaves it, so that nobody can try values against it.
func (s *Servers) code(ctx context.Context, path string, data map[string]string) (string, error) {
	raw, err := json.Marshal([]any{path, data}) // keys are sorted
	if err != nil {
		return "", err
	}
	r, err := s.client.own(ctx, http.MethodPost, transitMount+"/hmac/"+sealKey, map[string]any{"input": base64.StdEncoding.EncodeToString(raw)})
	if err != nil {
		return "", fmt.Errorf("compare with %s: %w", path, err)
	}
	if r == nil {
		return "", errors.New("Vault is not laid out for the platform; run `platform vault setup` first")
	}
	code, _ := r.Data["hmac"].(string)
	return code, nil
}

// kvMetadata is what Vault says of a secret without its values.
type kvMetadata struct {
	version string // see versionOf; empty: there is none
	code    string // of the current version; empty: not known
}

func (s *Servers) metadata(ctx context.Context, path string) (m kvMetadata, err error) {
	data, err := s.client.read(ctx, kvMount+"/metadata/"+path)
	if err != nil || data == nil {
		return m, err
	}
	current := number(data["current_version"])
	versions, _ := data["versions"].(map[string]any)
	one, _ := versions[current].(map[string]any)
	if one == nil {
		return m, nil
	}
	m.version = versionOf(current, one["created_time"])
	custom, _ := data["custom_metadata"].(map[string]any)
	if custom["code_of"] == current {
		m.code, _ = custom["code"].(string)
	}
	return m, nil
}

// versionOf names the values of a secret: its version, and when it was written,
// because the count begins anew when a secret was removed.
func versionOf(version string, created any) string {
	text, _ := created.(string)
	at, err := time.Parse(time.RFC3339Nano, text)
	if version == "" || err != nil {
		return ""
	}
	return version + "." + strconv.FormatInt(at.UnixMilli(), 36)
}

func number(v any) string {
	switch n := v.(type) {
	case json.Number:
		return n.String()
	case string:
		return n
	}
	return ""
}

// readStatic reads what a call of the server may have of static secrets: the
// connection's, its token's, and the user's own where they are asked for. Later
// ones stand before earlier ones of the same name.
func (c *Client) readStatic(ctx context.Context, r *LeaseRequest, token secret.Text) (issued, error) {
	out := issued{ttl: StaticTTL, keep: true, fields: map[string]secret.Text{}}
	id := &strings.Builder{}
	fmt.Fprintf(id, "%s/%s%s", kvMount, serverFolder(r.Tenant, r.Server), mode(r.Access))
	parts := []struct{ path, name string }{
		{connectionPath(r.Tenant, r.Server, r.Access), ""},
		{tokenPath(r.Tenant, r.Server, r.Access), "+token"},
	}
	if r.User != "" {
		parts = append(parts, struct{ path, name string }{userPath(r.Tenant, r.Server, r.User), "+" + string(r.User)})
	}
	for _, p := range parts {
		fields, version, err := c.readFields(ctx, r, token, p.path)
		if err != nil {
			return issued{}, err
		}
		if version != "" {
			fmt.Fprintf(id, "%s@%s", p.name, version)
		} else if p.name == "+"+string(r.User) {
			out.ttl = time.Second // until they connect an account
		}
		maps.Copy(out.fields, fields)
	}
	out.id = id.String()
	if at, has := out.fields[ExpiresAt]; has {
		if end, err := time.Parse(time.RFC3339, at.Reveal()); err == nil {
			out.ttl = max(min(out.ttl, time.Until(end)), time.Second)
		}
	}
	return out, nil
}

func (c *Client) readFields(ctx context.Context, r *LeaseRequest, token secret.Text, path string) (map[string]secret.Text, string, error) {
	s, err := c.do(ctx, request{method: http.MethodGet, path: kvMount + "/data/" + path, token: token, callID: r.CallID})
	if err != nil || s == nil {
		return nil, "", err
	}
	data, _ := s.Data["data"].(map[string]any)
	if data == nil {
		return nil, "", nil // a version that was deleted
	}
	fields := make(map[string]secret.Text, len(data))
	for name, v := range data {
		if text, ok := v.(string); ok {
			fields[name] = secret.Text(text)
		}
	}
	about, _ := s.Data["metadata"].(map[string]any)
	return fields, versionOf(number(about["version"]), about["created_time"]), nil
}
