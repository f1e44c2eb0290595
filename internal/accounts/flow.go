package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// FlowLife is how long a person has for the upstream's pages.
const FlowLife = 15 * time.Minute

// Begin starts an authorization and gives the URL at the upstream that the
// browser of `by` has to go to. user is whose account it will be, empty for the
// tenant's. returnTo is a path of the tenant's to end at, or empty.
func (s *Service) Begin(ctx context.Context, t tenants.Tenant, server *registry.Server, user, by tenants.UserID, returnTo string) (string, error) {
	need, ok := s.Of(server)
	if !ok {
		return "", fault.New(fault.Conflict, "%s works with no account that could be connected. Its connection says how it authenticates.", titleOf(server))
	}
	if need.PerUser != (user != "") {
		return "", fault.New(fault.Conflict, "%s", wrongSort(titleOf(server), need.PerUser))
	}
	c, err := s.clientFor(ctx, t, server, need)
	if err != nil {
		return "", err
	}
	state, verifier := random(), random()
	f := Flow{State: hashOf(state), Server: server.ID, User: user, By: by, Verifier: secret.Text(verifier), ReturnTo: returnTo, Expires: s.Now().Add(FlowLife)}
	if err := s.Store.BeginUpstreamFlow(ctx, t.ID, f, s.Now()); err != nil {
		return "", err
	}
	challenge := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {c.ID}, "redirect_uri": {s.redirectURI(t)}, "state": {state}, "resource": {c.Resource},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	if len(c.Scopes) > 0 {
		q.Set("scope", strings.Join(c.Scopes, " "))
	}
	if strings.Contains(q.Get("scope"), "offline_access") {
		q.Set("prompt", "consent")
	}
	u, err := url.Parse(c.Authorize)
	if err != nil {
		return "", err
	}
	for name, values := range u.Query() { // its own come first and cannot take the place of ours
		if !q.Has(name) {
			q[name] = values
		}
	}
	u.RawQuery = q.Encode()
	return u.String(), nil
}

func wrongSort(title string, perUser bool) string {
	if perUser {
		return "Each person connects an account of their own for " + title + ". There is none of the tenant's."
	}
	return title + " works with one account, which an administrator connects."
}

// Answer is what the upstream sent back with the browser.
type Answer struct{ State, Code, Issuer, Error string }

// Errors of a return, for the page that shows them.
var (
	errUnknownFlow = errors.New("accounts: the authorization is not known, was used, or took too long")
	errOtherPerson = errors.New("accounts: another person began it")
	errDenied      = errors.New("accounts: it was denied at the upstream")
	errMixUp       = errors.New("accounts: the answer is of another authorization server") // RFC 9207
)

// Finish takes the answer to the person who began it, and connects the account.
func (s *Service) Finish(ctx context.Context, t tenants.Tenant, by tenants.UserID, a Answer) (Flow, error) {
	if a.State == "" || len(a.State) > 200 {
		return Flow{}, errUnknownFlow
	}
	f, err := s.Store.TakeUpstreamFlow(ctx, t.ID, hashOf(a.State))
	switch {
	case fault.HasCode(err, fault.NotFound):
		return f, errUnknownFlow
	case err != nil:
		return f, err
	case !s.Now().Before(f.Expires):
		return f, errUnknownFlow
	case f.By != by:
		return f, errOtherPerson
	}
	c, err := s.Store.UpstreamClient(ctx, t.ID, f.Server)
	if err != nil {
		return f, err
	}
	switch {
	case a.Issuer != c.Issuer && (a.Issuer != "" || c.SaysIssuer):
		return f, errMixUp
	case a.Error != "":
		return f, errDenied
	case a.Code == "" || len(a.Code) > maxToken:
		return f, errUnknownFlow
	}
	got, err := s.exchange(ctx, t.ID, c, a.Code, f.Verifier, s.redirectURI(t))
	if err != nil {
		return f, err
	}
	now := s.Now()
	account := Account{Server: f.Server, User: f.User, State: Connected, Issuer: c.Issuer, Scopes: c.Scopes, ConnectedBy: by, ConnectedAt: now}
	if had, err := s.Store.UpstreamAccount(ctx, t.ID, f.Server, f.User); err == nil {
		account.Version = had.Version
	} else if !fault.HasCode(err, fault.NotFound) {
		return f, err
	}
	_, err = s.keep(ctx, t.ID, account, got, "")
	s.forget(key{t.ID, f.Server, f.User})
	if err == nil && s.OnConnected != nil {
		s.OnConnected(t.ID, f.Server, f.User)
	}
	return f, err
}

// Disconnect ends an account: at Vault, in the store, and at the upstream as far
// as that listens. It may be repeated.
func (s *Service) Disconnect(ctx context.Context, t tenants.ID, server registry.ServerID, user tenants.UserID) error {
	kept, err := s.Vault.Account(ctx, t, server, of(user))
	if err != nil {
		return err
	}
	c, err := s.Store.UpstreamClient(ctx, t, server)
	if err == nil {
		s.revoke(ctx, t, c, kept[fieldRefresh])
	} else if !fault.HasCode(err, fault.NotFound) {
		return err
	}
	s.forget(key{t, server, user})
	if err := s.drop(ctx, t, server, user); err != nil {
		return err
	}
	if err := s.Store.DeleteUpstreamAccount(ctx, t, server, user); err != nil && !fault.HasCode(err, fault.NotFound) {
		return err
	}
	return nil
}

func random() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func hashOf(s string) Hash { return sha256.Sum256([]byte(s)) }
