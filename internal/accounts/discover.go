package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// found is an upstream's authorization server.
type found struct {
	meta     *oauthex.AuthServerMeta
	resource string
	scopes   []string // that the upstream names
}

// clientFor gives the platform's registration for a server, and makes it where
// there is none that fits: the one an administrator gave, or the document of the
// platform's metadata, or a new one.
func (s *Service) clientFor(ctx context.Context, t tenants.Tenant, server *registry.Server, need registry.Account) (Client, error) {
	have, err := s.Store.UpstreamClient(ctx, t.ID, server.ID)
	if err == nil && have.Issuer != "" && s.Now().Sub(have.FoundAt) < clientAge && have.fits(need) {
		return have, nil
	}
	if err != nil && !fault.HasCode(err, fault.NotFound) {
		return Client{}, err
	}
	f, err := s.find(ctx, need)
	if err != nil {
		return Client{}, fault.New(fault.UpstreamAway, "The authorization server of %s was not found, or does not say what it must. Check the connection's URL and that the server supports OAuth.", titleOf(server)).Because(err)
	}
	c := Client{
		Server: server.ID, Issuer: f.meta.Issuer, Resource: f.resource, Authorize: f.meta.AuthorizationEndpoint, Token: f.meta.TokenEndpoint, Revoke: f.meta.RevocationEndpoint,
		SaysIssuer: f.meta.AuthorizationResponseIssParameterSupported, Scopes: need.Scopes, FoundAt: s.Now(), AuthMethod: "none",
	}
	if len(c.Scopes) == 0 {
		c.Scopes = f.scopes
	}
	if slices.Contains(f.meta.ScopesSupported, "offline_access") && !slices.Contains(c.Scopes, "offline_access") {
		c.Scopes = append(slices.Clone(c.Scopes), "offline_access") // OpenID Connect Core section 11
	}
	if err := s.register(ctx, t, &c, f.meta, have, need); err != nil {
		return Client{}, fault.New(fault.UpstreamAway, "The platform could not be registered at the authorization server of %s. Register it there by hand and set client_id, and client_secret if there is one, in the connection.", titleOf(server)).Because(err)
	}
	return c, s.Store.PutUpstreamClient(ctx, t.ID, c)
}

// clientAge is how long what was found out is kept: endpoints move seldom.
const clientAge = 24 * 60 * 60 * 1e9

func (c *Client) fits(need registry.Account) bool {
	if need.Client != "" && need.Client != c.ID || need.Client == "" && c.How == Given || need.Issuer != "" && need.Issuer != c.Issuer {
		return false
	}
	return len(need.Scopes) == 0 || len(c.Scopes) >= len(need.Scopes) && !slices.ContainsFunc(need.Scopes, func(s string) bool { return !slices.Contains(c.Scopes, s) })
}

// register makes c one that the authorization server knows, in the order that
// MCP Authorization has.
func (s *Service) register(ctx context.Context, t tenants.Tenant, c *Client, meta *oauthex.AuthServerMeta, have Client, need registry.Account) error {
	switch {
	case need.Client != "":
		kept, err := s.Vault.Account(ctx, t.ID, c.Server, vault.AccountClient)
		if err != nil {
			return err
		}
		c.ID, c.How, c.AuthMethod = need.Client, Given, method(meta, kept[fieldSecret] != "")
		return nil
	case meta.ClientIDMetadataDocumentSupported && s.Sites.Secure():
		c.ID, c.How = s.documentURL(t), Document
		return nil
	case have.How == Registered && have.Issuer == c.Issuer:
		c.ID, c.How, c.AuthMethod = have.ID, Registered, have.AuthMethod
		return nil
	case meta.RegistrationEndpoint == "":
		return errors.New("accounts: it takes no registration, and no client is given")
	}
	got, err := oauthex.RegisterClient(ctx, meta.RegistrationEndpoint, &oauthex.ClientRegistrationMetadata{
		RedirectURIs: []string{s.redirectURI(t)}, ClientName: "Latchkey for " + t.Name, ClientURI: s.Sites.Base(t.Slug),
		GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"},
		TokenEndpointAuthMethod: method(meta, true), Scope: strings.Join(c.Scopes, " "), ApplicationType: "web",
	}, s.http)
	if err != nil {
		return err
	}
	if got.ClientID == "" || len(got.ClientID) > 500 || len(got.ClientSecret) > maxToken {
		return errors.New("accounts: it registered no usable client")
	}
	kept := map[string]secret.Text{}
	if got.ClientSecret != "" {
		kept[fieldSecret] = secret.Text(got.ClientSecret)
	}
	c.ID, c.How, c.AuthMethod = got.ClientID, Registered, got.TokenEndpointAuthMethod
	if c.AuthMethod == "" || got.ClientSecret == "" {
		c.AuthMethod = method(meta, got.ClientSecret != "")
	}
	return s.Vault.PutAccount(ctx, t.ID, c.Server, vault.AccountClient, kept)
}

// method is how to authenticate at the token endpoint.
func method(meta *oauthex.AuthServerMeta, hasSecret bool) string {
	all := meta.TokenEndpointAuthMethodsSupported
	if !hasSecret || len(all) > 0 && !slices.Contains(all, "client_secret_basic") && !slices.Contains(all, "client_secret_post") {
		return "none"
	}
	if len(all) > 0 && !slices.Contains(all, "client_secret_basic") {
		return "client_secret_post"
	}
	return "client_secret_basic" // the default (RFC 8414 section 2)
}

// find asks the upstream for its authorization server (RFC 9728), and that for
// its metadata (RFC 8414). A server of before that has one at its own origin.
func (s *Service) find(ctx context.Context, need registry.Account) (found, error) {
	f := found{resource: need.Resource}
	issuers := []string{need.Issuer}
	if need.Issuer == "" {
		var err error
		if issuers, err = s.issuers(ctx, &f); err != nil {
			return f, err
		}
	}
	var errs []error
	for _, issuer := range issuers[:min(len(issuers), 3)] {
		meta, err := s.metadata(ctx, issuer)
		if err == nil {
			err = usable(meta)
		}
		if err == nil {
			f.meta = meta
			return f, nil
		}
		errs = append(errs, fmt.Errorf("%.100s: %w", issuer, err))
	}
	return f, errors.Join(errs...)
}

func (s *Service) issuers(ctx context.Context, f *found) ([]string, error) {
	u, err := url.Parse(f.resource)
	if err != nil {
		return nil, err
	}
	at, scope := s.challenge(ctx, f.resource)
	f.scopes = scopes(scope)
	places := wellKnown(u, "oauth-protected-resource")
	if at != "" {
		places = append([]string{at}, places...)
	}
	for i, place := range places {
		// The resource's own path first, then its origin (RFC 9728 section 3.1).
		for _, resource := range []string{f.resource, strings.TrimSuffix(f.resource, "/"), origin(u), origin(u) + "/"} {
			meta, err := oauthex.GetProtectedResourceMetadata(ctx, place, resource, s.http)
			if err != nil || len(meta.AuthorizationServers) == 0 {
				continue
			}
			f.resource = meta.Resource
			if len(f.scopes) == 0 {
				f.scopes = scopes(strings.Join(meta.ScopesSupported, " "))
			}
			return meta.AuthorizationServers, nil
		}
		if i > 2 {
			break
		}
	}
	return []string{origin(u)}, nil
}

// challenge asks the upstream without a token, and reads where it sends who has
// none.
func (s *Service) challenge(ctx context.Context, resource string) (metadata, scope string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, resource, nil)
	if err != nil {
		return "", ""
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	res, err := s.http.Do(req)
	if err != nil {
		return "", ""
	}
	res.Body.Close()
	challenges, err := oauthex.ParseWWWAuthenticate(res.Header.Values("WWW-Authenticate"))
	if err != nil {
		return "", ""
	}
	for _, c := range challenges {
		if c.Scheme == "bearer" {
			return c.Params["resource_metadata"], c.Params["scope"]
		}
	}
	return "", ""
}

func (s *Service) metadata(ctx context.Context, issuer string) (*oauthex.AuthServerMeta, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%.100q is no issuer", issuer)
	}
	places := append(wellKnown(u, "oauth-authorization-server"), wellKnown(u, "openid-configuration")...)
	if p := strings.TrimSuffix(u.Path, "/"); p != "" {
		places = append(places, origin(u)+p+"/.well-known/openid-configuration")
	}
	var errs []error
	for _, place := range places {
		meta, err := oauthex.GetAuthServerMeta(ctx, place, issuer, s.http)
		if err == nil && meta != nil {
			return meta, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// usable holds an authorization server to what OAuth 2.1 asks of one, and its
// endpoints to the form of an address that a browser and the platform may be sent
// to.
func usable(m *oauthex.AuthServerMeta) error {
	if !slices.Contains(m.CodeChallengeMethodsSupported, "S256") {
		return errors.New("it does not say that it takes PKCE with S256")
	}
	for name, at := range map[string]string{"authorization_endpoint": m.AuthorizationEndpoint, "token_endpoint": m.TokenEndpoint} {
		u, err := url.Parse(at)
		if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && !loopback(u.Hostname()) || len(at) > 2000 {
			return fmt.Errorf("its %s cannot be used", name)
		}
	}
	return nil
}

func loopback(host string) bool { return host == "127.0.0.1" || host == "::1" || host == "localhost" }

// wellKnown lists where a document of that name may be: before the path, then
// without it.
func wellKnown(u *url.URL, name string) []string {
	at := origin(u) + "/.well-known/" + name
	if p := strings.TrimSuffix(u.EscapedPath(), "/"); p != "" {
		return []string{at + p, at}
	}
	return []string{at}
}

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }
