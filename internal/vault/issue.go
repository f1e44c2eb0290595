package vault

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"latchkey/internal/secret"
)

// credentialIssuer trades a grant for a credential and ends it. Client is the one that
// counts; tests of a lease's life have another.
type credentialIssuer interface {
	issue(ctx context.Context, r *LeaseRequest) (issued, error)
	// revoke ends the token and everything it obtained.
	revoke(ctx context.Context, token secret.Text) error
}

type issued struct {
	id, username string
	password     secret.Text
	fields       map[string]secret.Text // of static secrets
	token        secret.Text            // empty: nothing is to be revoked
	ttl          time.Duration
	keep         bool // for later calls
}

// issue logs in with the grant and reads one credential: two requests, or a few
// more for static secrets.
func (c *Client) issue(ctx context.Context, r *LeaseRequest) (issued, error) {
	role := roleName(r.Tenant, r.Server, r.Access)
	login, err := c.do(ctx, request{method: http.MethodPost, path: "auth/" + authMount + "/login", callID: r.CallID,
		body: map[string]any{"role": role, "jwt": r.Grant.Reveal()}})
	if err != nil {
		return issued{}, explain(err, true)
	}
	if login == nil || login.Auth == nil {
		return issued{}, away(errors.New("login without a token"))
	}
	token := secret.Text(login.Auth.ClientToken)
	if r.Static {
		out, err := c.readStatic(ctx, r, token)
		return out, explain(err, false)
	}
	s, err := c.do(ctx, request{method: http.MethodGet, path: databaseMount + "/creds/" + role, token: token, callID: r.CallID, waits: true})
	if err == nil && s == nil {
		err = errors.New("no such role")
	}
	if err != nil {
		// The token could get another credential; best effort, it ends soon.
		_ = c.revoke(context.WithoutCancel(ctx), token)
		return issued{}, explain(err, false)
	}
	out := issued{id: s.LeaseID, token: token, ttl: time.Duration(s.LeaseDuration) * time.Second, keep: slices.Contains(login.Auth.Policies, keepPolicy)}
	out.username, _ = s.Data["username"].(string)
	password, _ := s.Data["password"].(string)
	out.password = secret.Text(password)
	return out, nil
}

func (c *Client) revoke(ctx context.Context, token secret.Text) error {
	if token == "" {
		return nil
	}
	_, err := c.do(ctx, request{method: http.MethodPost, path: "auth/token/revoke-self", token: token, waits: true})
	if hasStatus(err, http.StatusForbidden) {
		return nil // it has ended already
	}
	return err
}
