package accounts_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
)

// upstream is an MCP server with an authorization server of its own, as far as a
// client sees of them. It keeps to OAuth 2.1: codes and refresh tokens are good
// once, and a refresh token that comes twice ends everything.
type upstream struct {
	*httptest.Server
	t *testing.T

	mu        sync.Mutex
	clients   map[string]string // id to secret
	codes     map[string]url.Values
	refreshes map[string]bool // false: used
	access    map[string]bool
	dead      bool // nothing is renewed any more
	reused    int
	renewed   int
	revoked   []string
	forms     []url.Values
	basic     []string

	change   func(metadata map[string]any) // of the authorization server
	answer   func(w http.ResponseWriter, form url.Values) bool
	lifetime int
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{t: t, clients: map[string]string{}, codes: map[string]url.Values{}, refreshes: map[string]bool{}, access: map[string]bool{}, lifetime: 3600}
	mux := http.NewServeMux()
	mux.HandleFunc("/mcp", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+u.URL+`/.well-known/oauth-protected-resource/mcp", scope="read"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	mux.HandleFunc("/.well-known/oauth-protected-resource/mcp", func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusOK, map[string]any{"resource": u.URL + "/mcp", "authorization_servers": []string{u.URL}})
	})
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, r *http.Request) {
		m := map[string]any{
			"issuer": u.URL, "authorization_endpoint": u.URL + "/authorize?audience=x", "token_endpoint": u.URL + "/token", "registration_endpoint": u.URL + "/register",
			"revocation_endpoint": u.URL + "/revoke", "code_challenge_methods_supported": []string{"S256"}, "authorization_response_iss_parameter_supported": true,
			"response_types_supported": []string{"code"},
		}
		if u.change != nil {
			u.change(m)
		}
		reply(w, http.StatusOK, m)
	})
	mux.HandleFunc("POST /register", u.register)
	mux.HandleFunc("POST /token", u.token)
	mux.HandleFunc("POST /revoke", func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.revoked = append(u.revoked, r.FormValue("token"))
	})
	u.Server = httptest.NewServer(mux)
	t.Cleanup(u.Close)
	return u
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func fresh(prefix string) string {
	var b [12]byte
	rand.Read(b[:])
	return prefix + hex.EncodeToString(b[:])
}

func (u *upstream) register(w http.ResponseWriter, r *http.Request) {
	var in map[string]any
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_client_metadata"})
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	id, secret := fresh("client-"), fresh("secret-")
	u.clients[id] = secret
	in["client_id"], in["client_secret"], in["client_secret_expires_at"] = id, secret, 0
	reply(w, http.StatusCreated, in)
}

// allow plays the person who agrees: it gives the code for a request.
func (u *upstream) allow(at string) (code string, asked url.Values) {
	u.t.Helper()
	to, err := url.Parse(at)
	if err != nil || to.Path != "/authorize" {
		u.t.Fatalf("sent to %s (%v)", at, err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	code = fresh("code-")
	u.codes[code] = to.Query()
	return code, to.Query()
}

func (u *upstream) token(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		u.t.Error(err)
	}
	form := r.PostForm
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forms = append(u.forms, form)
	if u.answer != nil && u.answer(w, form) {
		return
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	u.basic = append(u.basic, id)
	if want, known := u.clients[id]; !known || want != secret {
		reply(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	}
	if form.Get("resource") != u.URL+"/mcp" {
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_target"})
		return
	}
	switch form.Get("grant_type") {
	case "authorization_code":
		asked, ok := u.codes[form.Get("code")]
		delete(u.codes, form.Get("code"))
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if !ok || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || asked.Get("redirect_uri") != form.Get("redirect_uri") || asked.Get("client_id") != id {
			reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
			return
		}
	case "refresh_token":
		good, known := u.refreshes[form.Get("refresh_token")]
		if known && !good {
			u.reused++
			u.dead = true
		}
		if !good || u.dead {
			reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
			return
		}
		u.refreshes[form.Get("refresh_token")] = false
		u.renewed++
	}
	access, refresh := fresh("access-"), fresh("refresh-")
	u.access[access], u.refreshes[refresh] = true, true
	out := map[string]any{"access_token": access, "token_type": "Bearer", "refresh_token": refresh, "scope": "read"}
	if u.lifetime > 0 {
		out["expires_in"] = u.lifetime
	}
	reply(w, http.StatusOK, out)
}

func (u *upstream) knows(access string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.access[access]
}

func (u *upstream) was(revoked string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Contains(u.revoked, revoked)
}
