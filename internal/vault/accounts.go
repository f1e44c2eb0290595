package vault

import (
	"context"
	"fmt"
	"net/http"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// What the platform needs to renew the tokens of a connected account stands
// apart from what workers get: no grant opens it, and the platform reads it, as
// it reads nothing else of a tenant's.

func accountFolder(t tenants.ID, id tenants.ServerID) string {
	return "accounts/" + string(t) + "/" + string(id) + "/"
}

// accountPath is of a person's account, of the server's own, or of how the
// platform is registered at its authorization server.
func accountPath(t tenants.ID, id tenants.ServerID, of string) string {
	return accountFolder(t, id) + of
}

const (
	// SharedAccount names the account of a server's own.
	SharedAccount = "shared"
	// AccountClient names the platform's registration.
	AccountClient = "client"
)

func checkAccount(t tenants.ID, id tenants.ServerID, of string) error {
	if err := checkServer(t, id); err != nil {
		return err
	}
	if of == SharedAccount || of == AccountClient {
		return nil
	}
	_, err := tenants.ParseUserID(of)
	return err
}

// PutAccount keeps what renews an account's tokens. None removes it.
func (s *Servers) PutAccount(ctx context.Context, t tenants.ID, id tenants.ServerID, of string, fields map[string]secret.Text) (err error) {
	defer fault.Wrap(&err, "vault.PutAccount(%s, %s, %.40q)", t, id, of)
	if err := checkAccount(t, id, of); err != nil {
		return err
	}
	return s.putFields(ctx, accountPath(t, id, of), fields)
}

// Account reads it back. What is not there is empty.
func (s *Servers) Account(ctx context.Context, t tenants.ID, id tenants.ServerID, of string) (_ map[string]secret.Text, err error) {
	defer fault.Wrap(&err, "vault.Account(%s, %s, %.40q)", t, id, of)
	if err := checkAccount(t, id, of); err != nil {
		return nil, err
	}
	read, err := s.client.own(ctx, http.MethodGet, kvMount+"/data/"+accountPath(t, id, of), nil)
	if err != nil {
		return nil, fmt.Errorf("read account: %w", err)
	}
	fields := map[string]secret.Text{}
	if read == nil {
		return fields, nil
	}
	data, _ := read.Data["data"].(map[string]any)
	for name, v := range data {
		if text, ok := v.(string); ok {
			fields[name] = secret.Text(text)
		}
	}
	return fields, nil
}
