package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// transcript keeps what users saw: answers over HTTP, and what commands printed.
type transcript struct {
	mu      sync.Mutex
	answers [][]byte
	size    int
}

// maxTranscript bounds memory; tests with large answers stay far below.
const maxTranscript = 256 << 20

func (k *transcript) record(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		res, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		head := &bytes.Buffer{}
		fmt.Fprintf(head, "%s %s\n", r.Method, r.URL)
		if err := res.Header.Write(head); err != nil {
			return nil, err
		}
		res.Body = &recorded{ReadCloser: res.Body, k: k, text: head}
		return res, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// recorded copies a body while it is read.
type recorded struct {
	io.ReadCloser
	k    *transcript
	text *bytes.Buffer
	once sync.Once
}

func (r *recorded) Read(b []byte) (int, error) {
	n, err := r.ReadCloser.Read(b)
	r.text.Write(b[:n])
	return n, err
}

func (r *recorded) Close() error {
	r.once.Do(func() {
		r.k.mu.Lock()
		defer r.k.mu.Unlock()
		if r.k.size += r.text.Len(); r.k.size <= maxTranscript {
			r.k.answers = append(r.k.answers, r.text.Bytes())
		}
	})
	return r.ReadCloser.Close()
}

// add keeps something else that a user saw.
func (k *transcript) add(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answers = append(k.answers, []byte(text))
}

func (k *transcript) all() [][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([][]byte(nil), k.answers...)
}

// rootToken may do everything with the platform's Vault. The platform itself
// keeps it only while it starts.
func (p *Platform) rootToken() (string, error) {
	b, err := os.ReadFile(p.Path("vault/data/keys.json"))
	if err != nil {
		return "", err
	}
	var k struct {
		RootToken string `json:"root_token"`
	}
	return k.RootToken, json.Unmarshal(b, &k)
}

// logVault makes Vault write all that it takes and gives into a file, as it
// is: this is how the tests know which secrets there are.
func (p *Platform) logVault() error {
	token, err := p.rootToken()
	if err != nil {
		return err
	}
	b, err := json.Marshal(map[string]any{"type": "file", "options": map[string]string{"file_path": p.vault, "log_raw": "true"}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, p.VaultAddr+"/v1/sys/audit/e2e", bytes.NewReader(b))
	if err != nil {
		return err
	}
	r.Header.Set("X-Vault-Token", token)
	res, err := http.DefaultClient.Do(r) // not p.HTTP, which is for what users see
	if err != nil {
		return err
	}
	defer res.Body.Close()
	said, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusNoContent && !bytes.Contains(said, []byte("path already in use")) { // of a run before
		return fmt.Errorf("let Vault log: %s %s", res.Status, said)
	}
	return nil
}

// Secrets are values by what they are.
type Secrets map[string]string

func (s Secrets) add(value, what string) {
	if len(value) < 12 || s[value] != "" { // shorter ones would be found anywhere
		return
	}
	s[value] = what
}

// Issued collects every secret that Vault took in or gave out, and those that
// the platform was set up with.
func (p *Platform) Issued() (Secrets, error) {
	s := Secrets{}
	own, err := p.secrets()
	if err != nil {
		return nil, err
	}
	super, err := p.superuser()
	if err != nil {
		return nil, err
	}
	root, err := p.rootToken()
	if err != nil {
		return nil, err
	}
	s.add(own.Owner, "the owner's database password")
	s.add(own.App, "the platform's database password")
	s.add(own.DemoAcme, "acme's database administrator's password")
	s.add(own.DemoGlobex, "globex's database administrator's password")
	s.add(own.DemoUpstream, "the demo API's password for its database")
	s.add(own.DemoUpstreamKey, "the key of the demo's API")
	s.add(own.VaultSecret, "the platform's Vault secret")
	s.add(super, "the database superuser's password")
	s.add(root, "Vault's root token")
	s.add(own.APIKey, "acme's API key")
	s.add(own.OperatorKey, "the operators' key")
	s.add(own.Operator, "the password of the operator")
	for email, password := range own.People {
		s.add(password, "the password of "+email)
	}
	f, err := os.Open(p.vault)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			s.fromVault(line)
		}
		if err == io.EOF {
			return s, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (s Secrets) fromVault(line []byte) {
	type part struct {
		Path        string         `json:"path"`
		ClientToken string         `json:"client_token"`
		Data        map[string]any `json:"data"`
		Auth        *struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	var e struct {
		Request, Response part
	}
	if json.Unmarshal(line, &e) != nil {
		return // the last line may be half written
	}
	for _, p := range []part{e.Request, e.Response} {
		s.add(p.ClientToken, "a Vault token")
		if p.Auth != nil {
			s.add(p.Auth.ClientToken, "a Vault token")
		}
		for _, name := range []string{"password", "secret_id", "token"} {
			if v, ok := p.Data[name].(string); ok {
				s.add(v, "a "+name+" that Vault handled at "+e.Request.Path)
			}
		}
		if v, ok := p.Data["jwt"].(string); ok {
			s.add(v, "the grant of a call")
			if i := strings.LastIndexByte(v, '.'); i > 0 {
				s.add(v[i+1:], "the signature of a call's grant")
			}
		}
		if v, ok := p.Data["plaintext"].(string); ok { // a private key, on its way through transit
			s.add(v, "a signing key")
			if raw, err := base64.StdEncoding.DecodeString(v); err == nil && len(raw) >= 32 {
				s.add(base64.RawURLEncoding.EncodeToString(raw), "a signing key")
				s.add(hex.EncodeToString(raw), "a signing key")
				s.add(string(raw), "a signing key")
			}
		}
	}
}

// Kinds counts the secrets by what they are.
func (s Secrets) Kinds() map[string]int {
	n := map[string]int{}
	for _, what := range s {
		what, _, _ = strings.Cut(what, " that Vault handled at database/creds")
		n[what]++
	}
	return n
}

// In looks for secrets in a text.
func (s Secrets) In(where string, text []byte) error {
	var errs []error
	for value, what := range s {
		if i := bytes.Index(text, []byte(value)); i >= 0 {
			line := bytes.Count(text[:i], []byte("\n")) + 1
			errs = append(errs, fmt.Errorf("%s is in %s, line %d: …%.80s[here]", what, where, line, text[max(0, i-80):i]))
		}
	}
	return errors.Join(errs...)
}

// shapes are secrets that are known by how they look: keys and tokens of ours,
// and signed tokens, such as the console's, which never leaves the platform.
var shapes = map[string]*regexp.Regexp{
	"an API key":      regexp.MustCompile(`lk_(live|ops)_[A-Za-z0-9_-]{43}`),
	"a token of ours": regexp.MustCompile(`\blk[a-z]_[A-Za-z0-9_-]{43}`),
	"a signed token":  regexp.MustCompile(`eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}`),
}

// cookieSet is a cookie as an answer sets it.
var cookieSet = regexp.MustCompile(`(?m)^Set-Cookie: [^=;]+=([^;\r\n]{20,})`)

// given finds what browsers were given: it is theirs, and stands in no log.
func (k *transcript) given() Secrets {
	s := Secrets{}
	for _, a := range k.all() {
		for _, m := range cookieSet.FindAllSubmatch(a, -1) {
			s.add(string(m[1]), "a cookie")
		}
	}
	return s
}

// logged looks for what must be in no log and no record, whoever it belongs to.
func logged(where string, text []byte, given Secrets) error {
	errs := []error{given.In(where, text)}
	for what, shape := range shapes {
		if at := shape.FindIndex(text); at != nil {
			errs = append(errs, fmt.Errorf("%s is in %s: …%.80s[here]", what, where, text[max(0, at[0]-80):at[0]]))
		}
	}
	return errors.Join(errs...)
}

// leaks looks for every secret wherever somebody may see it: in answers, in
// logs, and in the audit. What a person signs in with and what an app was
// given are theirs and looked for in logs and records only.
func (p *Platform) leaks() error {
	s, err := p.Issued()
	if err != nil {
		return err
	}
	given := p.seen.given()
	var errs []error
	for _, a := range p.seen.all() {
		errs = append(errs, s.In("an answer or a command's output", a))
	}
	logs := []string{p.Path("platform.log"), p.Path("worker.log"), p.Path("vault/vault.log"), p.Path("postgres/postgres.log")}
	for _, log := range logs {
		b, err := os.ReadFile(log)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.In(filepath.Base(log), b), logged(filepath.Base(log), b, given))
	}
	// The ready screen shows the passwords of people, as it is meant to.
	shown := maps.Clone(s)
	maps.DeleteFunc(shown, func(_, what string) bool { return strings.HasPrefix(what, "the password of ") })
	screen, err := os.ReadFile(p.screen)
	errs = append(errs, err, shown.In("the ready screen", screen))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	records, err := p.Audit(ctx, time.Time{})
	errs = append(errs, err)
	for _, r := range records {
		errs = append(errs, s.In("an audit record", []byte(r.Text)), logged("an audit record", []byte(r.Text), given))
	}
	return errors.Join(errs...)
}

// IssuedUser is a database user that Vault made.
type IssuedUser struct{ Name, Password, Path string }

// IssuedUsers lists them, as Vault's log has them.
func (p *Platform) IssuedUsers() ([]IssuedUser, error) {
	b, err := os.ReadFile(p.vault)
	if err != nil {
		return nil, err
	}
	var out []IssuedUser
	for line := range bytes.Lines(b) {
		var e struct {
			Request  struct{ Path string }
			Response struct {
				Data map[string]any `json:"data"`
			}
		}
		if json.Unmarshal(line, &e) != nil {
			continue
		}
		name, _ := e.Response.Data["username"].(string)
		password, _ := e.Response.Data["password"].(string)
		if name != "" && password != "" {
			out = append(out, IssuedUser{name, password, e.Request.Path})
		}
	}
	return out, nil
}
