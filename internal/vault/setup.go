package vault

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
)

//go:embed policies/platform.hcl
var platformHCL string

//go:embed policies/server.hcl
var serverHCL string

// SetupConfig has what may differ between installations. The zero value works.
type SetupConfig struct {
	// Keys are the public keys that grants are signed with. Without any, the
	// keys that are pinned stay.
	Keys []ed25519.PublicKey
	// LoginRate is how many logins a second Vault takes from one address;
	// 0 means 500. It bounds what a worker that is broken into can ask.
	LoginRate float64
}

// Setup lays out a Vault: mounts, the platform's policy and AppRole, the
// sealing key, the login quota and what the audit shows. It may run any number
// of times and changes nothing the second time. admin needs the authority to
// write mounts and policies; the platform runs with PlatformAppRole afterwards.
func Setup(ctx context.Context, admin *Client, cfg SetupConfig) (err error) {
	defer fault.Wrap(&err, "vault.Setup")
	for _, m := range []struct{ path, kind string }{
		{kvMount, "kv"}, {databaseMount, "database"}, {transitMount, "transit"},
	} {
		if err := ensureMount(ctx, admin, m.path, m.kind); err != nil {
			return err
		}
	}
	for _, m := range []struct{ path, kind string }{{authMount, "jwt"}, {appRoleMount, "approle"}} {
		if err := ensureAuth(ctx, admin, m.path, m.kind); err != nil {
			return err
		}
	}
	if err := showUsernamesInAudit(ctx, admin); err != nil {
		return err
	}
	if cfg.LoginRate == 0 {
		cfg.LoginRate = 500
	}
	for _, w := range []struct {
		path string
		body map[string]any
	}{
		{"sys/policies/acl/" + platformPolicy, map[string]any{"policy": platformHCL}},
		{"auth/" + appRoleMount + "/role/" + platformRole, map[string]any{
			"token_policies": []string{platformPolicy}, "token_no_default_policy": true,
			"token_ttl": "1h", "token_max_ttl": "1h", "bind_secret_id": true,
		}},
		{"sys/quotas/rate-limit/" + loginQuota, map[string]any{"path": "auth/" + authMount + "/login", "rate": cfg.LoginRate}},
		// A call and the database user it got stand in one audit record.
		{"sys/config/auditing/request-headers/" + strings.ToLower(callIDHeader), map[string]any{"hmac": false}},
	} {
		if err := admin.write(ctx, w.path, w.body); err != nil {
			return err
		}
	}
	if err := ensureSealKey(ctx, admin); err != nil {
		return err
	}
	if len(cfg.Keys) > 0 {
		return PinKeys(ctx, admin, cfg.Keys)
	}
	return nil
}

// PinKeys makes the keys the only ones a grant may be signed with. They stand
// in Vault itself, so Vault needs no way to the platform and a key id that
// nobody knows costs nothing. To rotate, pin the old and the new key, sign with
// the new one, and pin it alone a minute later.
func PinKeys(ctx context.Context, c *Client, keys []ed25519.PublicKey) (err error) {
	defer fault.Wrap(&err, "vault.PinKeys")
	if len(keys) == 0 {
		return errors.New("no key given")
	}
	pems := make([]string, 0, len(keys))
	for _, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k)
		if err != nil {
			return err
		}
		pems = append(pems, string(bytes.TrimSpace(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))))
	}
	return c.write(ctx, "auth/"+authMount+"/config", map[string]any{
		"jwt_validation_pubkeys": pems, "bound_issuer": issuer, "jwt_supported_algs": []string{"EdDSA"},
	})
}

// PlatformAppRole makes a new secret id for the platform. Earlier ones stay
// valid, so that platforms can be replaced one by one.
func PlatformAppRole(ctx context.Context, admin *Client) (_ AppRole, err error) {
	defer fault.Wrap(&err, "vault.PlatformAppRole")
	path := "auth/" + appRoleMount + "/role/" + platformRole
	role, err := admin.read(ctx, path+"/role-id")
	if err != nil {
		return AppRole{}, err
	}
	s, err := admin.own(ctx, http.MethodPost, path+"/secret-id", nil)
	if err != nil {
		return AppRole{}, fmt.Errorf("write %s/secret-id: %w", path, err)
	}
	id, _ := role["role_id"].(string)
	if id == "" || s == nil {
		return AppRole{}, errors.New("Vault has no AppRole of the platform; run `platform vault setup` first")
	}
	sid, _ := s.Data["secret_id"].(string)
	return AppRole{RoleID: id, SecretID: secret.Text(sid)}, nil
}

func ensureMount(ctx context.Context, admin *Client, path, kind string) error {
	mounts, err := admin.read(ctx, "sys/mounts")
	if err != nil {
		return err
	}
	have, _ := mounts[path+"/"].(map[string]any)
	if have == nil {
		body := map[string]any{"type": kind}
		if kind == "kv" {
			body["options"] = map[string]string{"version": "2"}
		}
		return admin.write(ctx, "sys/mounts/"+path, body)
	}
	if have["type"] != kind {
		return fmt.Errorf("the mount %s/ is of type %v, not %s; move that one, or give the platform a Vault of its own", path, have["type"], kind)
	}
	if options, _ := have["options"].(map[string]any); kind == "kv" && options["version"] != "2" {
		return fmt.Errorf("the mount %s/ is version 1 of kv; run `vault kv enable-versioning %s/` first", path, path)
	}
	return nil
}

func ensureAuth(ctx context.Context, admin *Client, path, kind string) error {
	mounts, err := admin.read(ctx, "sys/auth")
	if err != nil {
		return err
	}
	have, _ := mounts[path+"/"].(map[string]any)
	switch {
	case have == nil:
		return admin.write(ctx, "sys/auth/"+path, map[string]any{"type": kind})
	case have["type"] != kind:
		return fmt.Errorf("the auth mount %s/ is of type %v, not %s; move that one, or give the platform a Vault of its own", path, have["type"], kind)
	}
	return nil
}

// showUsernamesInAudit keeps database user names readable in audit records;
// passwords stay hashed.
func showUsernamesInAudit(ctx context.Context, admin *Client) error {
	path := "sys/mounts/" + databaseMount + "/tune"
	tune, err := admin.read(ctx, path)
	if err != nil {
		return err
	}
	keys := stringList(tune["audit_non_hmac_response_keys"])
	if slices.Contains(keys, "username") {
		return nil
	}
	return admin.write(ctx, path, map[string]any{"audit_non_hmac_response_keys": append(keys, "username")})
}

func ensureSealKey(ctx context.Context, admin *Client) error {
	path := transitMount + "/keys/" + sealKey
	have, err := admin.read(ctx, path)
	if err != nil {
		return err
	}
	if have == nil {
		return admin.write(ctx, path, map[string]any{"type": "aes256-gcm96", "derived": true})
	}
	if have["derived"] != true {
		return fmt.Errorf("the key %s is not derived, so what is sealed would not be bound to its name; remove it and run this again", path)
	}
	return nil
}

// authAccessor finds the accessor of the auth mount, which policies name.
func authAccessor(ctx context.Context, c *Client) (string, error) {
	mounts, err := c.read(ctx, "sys/auth")
	if err != nil {
		return "", err
	}
	have, _ := mounts[authMount+"/"].(map[string]any)
	accessor, _ := have["accessor"].(string)
	if accessor == "" {
		return "", errors.New("Vault is not laid out for the platform; run `platform vault setup` first")
	}
	return accessor, nil
}
