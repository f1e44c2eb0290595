package stdiotool

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
	"latchkey/internal/sandbox"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// connection is the normalized form. It names secrets and holds none.
type connection struct {
	Secrets []string `json:"secrets,omitempty"` // variables
	Files   []string `json:"files,omitempty"`   // below /secrets
	Egress  []string `json:"egress,omitempty"`
}

const (
	maxSecrets     = 50
	maxSecretBytes = 64 << 10
)

// checkConnection reads a declared connection (runtime.Kind).
func checkConnection(n *yaml.Node) (json.RawMessage, map[string]secret.Text, []registry.Problem) {
	if n == nil {
		return json.RawMessage("{}"), nil, nil
	}
	r := &registry.Reader{}
	o := r.Object(n, "connection", "secrets", "files", "egress")
	secrets := map[string]secret.Text{}
	c := connection{}
	c.Secrets = readSecrets(o, "secrets", secrets, func(name string) (string, string) {
		if !envPattern.MatchString(name) {
			return "is no name of a variable", "use letters, digits and _"
		}
		return "", ""
	})
	c.Files = readSecrets(o, "files", secrets, func(name string) (string, string) {
		if !filePattern.MatchString(name) {
			return "is no path of a file", "write one such as account.json: the process finds it at " + secretsDir + "/account.json"
		}
		return "", ""
	})
	c.Egress = o.Texts("egress")
	if err := sandbox.CheckEgress(c.Egress); err != nil {
		o.Bad("egress", err.Error(), "write what the server may connect to, such as egress: [api.example.com:443]")
	}
	if len(r.Problems) > 0 {
		slices.SortStableFunc(r.Problems, func(a, b registry.Problem) int { return a.Line - b.Line })
		return nil, nil, r.Problems
	}
	normalized, err := json.Marshal(c)
	if err != nil { // texts only
		panic(err)
	}
	return normalized, secrets, nil
}

// readSecrets takes secrets that were referred to, each under its path in the
// connection.
func readSecrets(o registry.Object, key string, into map[string]secret.Text, wrong func(name string) (reason, fix string)) (names []string) {
	if !o.Has(key) {
		return nil
	}
	o.Entries(o.Value(key), o.At(key), func(name, value *yaml.Node, at string) {
		fix := fmt.Sprintf("write %s: {env: NAME} or {file: PATH}", name.Value)
		reason, how := wrong(name.Value)
		switch {
		case reason != "":
			o.Problem(name, at, reason, how)
		case !registry.Referred(value):
			o.Problem(value, at, "is written in the file", fix+"; secrets do not belong into files that are shared")
		case value.Value == "":
			o.Problem(value, at, "refers to something that is empty", "set it")
		case len(value.Value) > maxSecretBytes:
			o.Problem(value, at, fmt.Sprintf("has more than %d KB", maxSecretBytes>>10), "keep secrets short")
		default:
			names = append(names, name.Value)
			into[key+"."+name.Value] = secret.Text(value.Value)
		}
	})
	if len(names) > maxSecrets {
		o.Bad(key, fmt.Sprintf("has more than %d entries", maxSecrets), "use a file that holds several")
	}
	slices.Sort(names)
	return names
}

// provision puts the secrets where workers get them for a call (runtime.Kind).
func provision(ctx context.Context, v *vault.Servers, t tenants.ID, s registry.Server, secrets map[string]secret.Text) error {
	return v.PutSecrets(ctx, t, s.ID, secrets, nil)
}
