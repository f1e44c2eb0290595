// Package remotetool is the kind `remote`: another MCP server over streamable
// HTTP or the older HTTP with SSE, of any revision of the protocol. It owns where
// that server is, how it is spoken to and with which credential, and the sessions
// that are kept open to it.
//
// It leaves what is passed through, and what is offered of it, to mcptool, and
// where workers may connect to egress. A caller's token never comes here: the
// upstream gets what Vault has for it and nothing else.
package remotetool

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/mcptool"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// Kind is the kind `remote`.
var Kind = runtime.Kind{
	Name: "remote", Title: "Remote MCP", Description: "Another MCP server, over HTTP: its tools, resources and prompts under your scopes, limits and record, as an administrator has looked at them.",
	Template: template, Check: mcptool.CheckSpec, Define: mcptool.DefineSpec, CheckConnection: checkConnection, Source: source, Provision: provision, Account: account, Static: true, Open: open,
}

//go:embed template.yaml
var template string

// provision keeps the secret of the connection at Vault (runtime.Kind), and apart
// from it what the platform needs as the upstream's client. Tokens of accounts
// come there when somebody connects them.
func provision(ctx context.Context, v *vault.Servers, t tenants.ID, s registry.Server, secrets map[string]secret.Text) error {
	calls := maps.Clone(secrets)
	delete(calls, fieldClientSecret)
	client := map[string]secret.Text{}
	if given := secrets[fieldClientSecret]; given != "" {
		client["client_secret"] = given
	}
	if a, ok := account(s.Connection); ok && a.Client != "" {
		if err := v.PutAccount(ctx, t, s.ID, vault.AccountClient, client); err != nil {
			return err
		}
	}
	return v.PutSecrets(ctx, t, s.ID, calls, nil)
}

func open(_ context.Context, o runtime.Opening, h runtime.Host) (_ runtime.Instance, err error) {
	defer fault.Wrap(&err, "remotetool.open(%s)", o.Server)
	var s mcptool.Spec
	if err := json.Unmarshal(o.Spec, &s); err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	var c connection
	if err := json.Unmarshal(o.Connection, &c); err != nil {
		return nil, fmt.Errorf("read connection: %w", err)
	}
	up, err := newUpstream(c, h)
	if err != nil {
		return nil, err
	}
	return mcptool.New(s, up, h.Log), nil
}
