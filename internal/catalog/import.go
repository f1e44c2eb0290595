package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Proposal is a server.json as it could be declared here.
type Proposal struct {
	Slug, Kind, Title, Description string
	Connection, Spec               json.RawMessage // nil where there is none; secrets are {"secret": ""}
	YAML                           string          // as an entry of a tenant file; secrets are {env: NAME}
	Missing                        []Missing
	Notes                          []string
}

// Missing has to be filled in before the server can be saved.
type Missing struct {
	Name        string
	Where       string // JSON pointer into what is declared
	Secret      bool
	Description string
	Choices     []string
}

// maxImport bounds a server.json, in bytes, and maxInputs what it asks for.
const (
	maxImport = 256 << 10
	maxInputs = 200
)

// input is the schema's Input, with variables.
type input struct {
	Name        string           `json:"name"` // of headers, variables of the environment, named arguments
	Type        string           `json:"type"` // of arguments: positional, named
	ValueHint   string           `json:"valueHint"`
	Description string           `json:"description"`
	IsRequired  bool             `json:"isRequired"`
	IsSecret    bool             `json:"isSecret"`
	IsRepeated  bool             `json:"isRepeated"`
	Format      string           `json:"format"`
	Value       string           `json:"value"`
	Default     string           `json:"default"`
	Choices     []string         `json:"choices"`
	Variables   map[string]input `json:"variables"`
}

type transport struct {
	Type      string           `json:"type"`
	URL       string           `json:"url"`
	Headers   []input          `json:"headers"`
	Variables map[string]input `json:"variables"`
}

type pkg struct {
	RegistryType         string    `json:"registryType"`
	RegistryBaseURL      string    `json:"registryBaseUrl"`
	Identifier           string    `json:"identifier"`
	Version              string    `json:"version"`
	RuntimeHint          string    `json:"runtimeHint"`
	Transport            transport `json:"transport"`
	RuntimeArguments     []input   `json:"runtimeArguments"`
	PackageArguments     []input   `json:"packageArguments"`
	EnvironmentVariables []input   `json:"environmentVariables"`
}

type document struct {
	Name        string      `json:"name"`
	Title       string      `json:"title"`
	Description string      `json:"description"`
	Version     string      `json:"version"`
	Packages    []pkg       `json:"packages"`
	Remotes     []transport `json:"remotes"`
}

// Import reads a server.json, or what a registry answers for one version. It
// prefers a remote server, which runs nothing here, over a package. slug may be
// empty. The error says what of it cannot be hosted.
func Import(raw json.RawMessage, slug string) (p Proposal, err error) {
	d, err := readDocument(raw)
	if err != nil {
		return p, err
	}
	if p.Slug = slug; slug == "" {
		p.Slug = slugOf(d.Name)
	}
	p.Title, p.Description = atMost(d.Title, 200), atMost(d.Description, 4000)
	if p.Title == "" {
		p.Title = p.Slug
	}
	im := &importer{Proposal: &p}
	var why []string
	for _, r := range d.Remotes {
		if reason := im.remote(r); reason != "" {
			why = append(why, reason)
			continue
		}
		if len(d.Packages) > 0 {
			im.note("It is offered as a package too. This proposal uses the remote server, which runs nothing here.")
		}
		return p, im.finish()
	}
	for _, g := range d.Packages {
		if reason := im.npm(g); reason != "" {
			why = append(why, reason)
			continue
		}
		return p, im.finish()
	}
	if len(why) == 0 {
		why = []string{"it has neither remotes nor packages"}
	}
	return p, fault.New(fault.InvalidSpec, "%s cannot be hosted: %s.", atMost(d.Name, 200), strings.Join(why, "; "))
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+$`)

func readDocument(raw json.RawMessage) (d document, err error) {
	wrong := func(format string, a ...any) error {
		return fault.New(fault.InvalidSpec, "This is no server.json that can be read.").
			WithDetails(fault.Detail{Pointer: "/server_json", Reason: fmt.Sprintf(format, a...), Fix: "send one of the schema of 2025-12-11"})
	}
	if len(raw) > maxImport {
		return d, wrong("is larger than %d KB", maxImport>>10)
	}
	var wrapped struct {
		Server *json.RawMessage `json:"server"`
	}
	if json.Unmarshal(raw, &wrapped) == nil && wrapped.Server != nil {
		raw = *wrapped.Server
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, wrong("is not of the form: %.200s", err)
	}
	if !namePattern.MatchString(d.Name) || len(d.Name) > 200 {
		return d, wrong("has no name such as com.example/server")
	}
	n := 0
	for _, r := range d.Remotes {
		n += len(r.Headers) + len(r.Variables)
	}
	for _, g := range d.Packages {
		n += len(g.PackageArguments) + len(g.EnvironmentVariables) + len(g.RuntimeArguments)
	}
	if n > maxInputs || len(d.Remotes)+len(d.Packages) > maxInputs {
		return d, wrong("asks for more than %d values", maxInputs)
	}
	return d, nil
}

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

// slugOf makes one of the part of the name behind the slash.
func slugOf(name string) string {
	_, last, _ := strings.Cut(name, "/")
	s := strings.Trim(notSlug.ReplaceAllString(strings.ToLower(last), "-"), "-")
	if s = strings.TrimRight(s[:min(len(s), 40)], "-"); tenants.ValidSlug(s) != nil {
		s = strings.TrimRight(("s-" + s)[:min(len(s)+2, 40)], "-")
	}
	if tenants.ValidSlug(s) != nil {
		return "imported"
	}
	return s
}

type importer struct {
	*Proposal
	spec       map[string]any
	connection map[string]any
}

func (im *importer) note(format string, a ...any) {
	im.Notes = append(im.Notes, fmt.Sprintf(format, a...))
}

func (im *importer) miss(where, name string, in input) {
	im.Missing = append(im.Missing, Missing{Name: atMost(name, 200), Where: where, Secret: in.IsSecret, Description: atMost(in.Description, 1000), Choices: in.Choices})
}

// hole stands for what is missing in a text, as a server.json has it.
func hole(name string) string { return "{" + strings.TrimLeft(name, "-") + "}" }

// filled puts variables into a template. What has no value stays as a hole, and
// is missing.
func (im *importer) filled(where, template string, variables map[string]input) string {
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		v := variables[name]
		if !strings.Contains(template, "{"+name+"}") {
			continue
		}
		value := v.Value
		if value == "" {
			value = v.Default
		}
		if value == "" {
			value = hole(name)
			im.miss(where, name, v)
		}
		template = strings.ReplaceAll(template, "{"+name+"}", value)
	}
	return template
}

// secretHere reports whether an input is, or holds, a secret.
func secretHere(in input) bool {
	if in.IsSecret {
		return true
	}
	for _, v := range in.Variables {
		if v.IsSecret {
			return true
		}
	}
	return false
}

// value of an input; given is false where nothing is to be set. An input that
// needs one and has none is a hole, and is missing.
func (im *importer) value(where, name string, in input) (value string, given bool) {
	switch {
	case in.Value != "":
		return im.filled(where, in.Value, in.Variables), true
	case in.Default != "":
		return in.Default, true
	case !in.IsRequired:
		im.note("%s can be set, and need not be. %s", name, atMost(in.Description, 300))
		return "", false
	}
	im.miss(where, name, in)
	return hole(name), true
}

func (im *importer) remote(r transport) (reason string) {
	if r.Type != "streamable-http" && r.Type != "sse" {
		return fmt.Sprintf("a remote of type %.40q is not known", r.Type)
	}
	im.connection, im.spec = map[string]any{}, map[string]any{}
	at := im.filled("/connection/url", r.URL, r.Variables)
	u, err := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(at))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		im.Missing = nil
		return fmt.Sprintf("the remote's address %.200q is no URL", r.URL)
	}
	if u.Scheme == "http" {
		im.note("Its address is not encrypted: whoever is on the way reads what is sent, credentials too.")
	}
	im.Kind, im.connection["url"] = "remote", at
	if r.Type == "sse" {
		im.connection["transport"] = "sse"
	}
	headers := map[string]any{}
	for _, h := range r.Headers {
		where := "/connection/headers/" + pointed(h.Name)
		switch {
		case !headerName.MatchString(h.Name):
			im.note("It asks for a header %.80q, which is none.", h.Name)
		case secretHere(h) && im.connection["auth"] != nil:
			im.note("It asks for a second secret, the header %s. One is kept for a server.", h.Name)
		case secretHere(h):
			im.credential(h)
		default:
			if v, given := im.value(where, "the header "+h.Name, h); given {
				headers[h.Name] = v
			}
		}
	}
	if len(headers) > 0 {
		im.connection["headers"] = headers
	}
	if len(r.Headers) == 0 {
		im.note("It says nothing of credentials. Where it asks people to sign in, write connection.auth: {type: oauth}.")
	}
	return ""
}

// credential is a header that is a secret: kind remote has a place for one.
func (im *importer) credential(h input) {
	h.IsSecret = true
	place := secretPlace(envName(im.Slug, h.Name))
	if strings.EqualFold(h.Name, "Authorization") && strings.HasPrefix(h.Value, "Bearer ") {
		h.Description = strings.TrimSpace("The token alone, without Bearer. " + h.Description)
		im.connection["auth"] = map[string]any{"type": "bearer", "token": place}
		im.miss("/connection/auth/token", h.Name, h)
		return
	}
	if h.Value != "" && len(h.Variables) > 0 {
		h.Description = strings.TrimSpace("The whole value, of the form " + h.Value + ". " + h.Description)
	}
	im.connection["auth"] = map[string]any{"type": "header", "header": h.Name, "value": place}
	im.miss("/connection/auth/value", h.Name, h)
}

var (
	headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")
	npmName    = regexp.MustCompile(`^(@[a-z0-9~-][a-z0-9._~-]{0,100}/)?[a-z0-9~-][a-z0-9._~-]{0,100}$`)
	exact      = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]{1,100})?(\+[0-9A-Za-z.-]{1,100})?$`)
	variable   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
)

func (im *importer) npm(g pkg) (reason string) {
	switch {
	case g.RegistryType != "npm":
		return fmt.Sprintf("packages of %.40q are not hosted, only those of npm", g.RegistryType)
	case g.Transport.Type != "" && g.Transport.Type != "stdio":
		return fmt.Sprintf("the package %.100q is a server on the network (%.40s), and only stdio is hosted", g.Identifier, g.Transport.Type)
	case !npmName.MatchString(g.Identifier):
		return fmt.Sprintf("%.100q is no package of npm", g.Identifier)
	case !exact.MatchString(g.Version):
		return fmt.Sprintf("the package %.100q is at %.40q, which is no exact version", g.Identifier, g.Version)
	}
	im.Kind, im.connection, im.spec = "stdio", map[string]any{}, map[string]any{"package": map[string]any{"npm": g.Identifier + "@" + g.Version}}
	if b := g.RegistryBaseURL; b != "" && strings.TrimSuffix(b, "/") != "https://registry.npmjs.org" {
		im.note("It names a package registry of its own, %.200s, which is not used: packages come from the one that the workers are given.", b)
	}
	for _, a := range g.RuntimeArguments {
		if v := a.Name + a.Value; v != "-y" && v != "--yes" {
			im.note("It wants %.100q for the program that starts it (%.40s), which is not used here.", v, g.RuntimeHint)
		}
	}
	var args []string
	for _, a := range g.PackageArguments {
		where := "/spec/args/" + strconv.Itoa(len(args))
		name := a.ValueHint
		if a.Type == "named" {
			name = a.Name
			where = "/spec/args/" + strconv.Itoa(len(args)+1)
		}
		if secretHere(a) {
			im.note("The argument %.100s is a secret. Arguments are not: see whether the server takes it from its environment.", name)
		}
		v, given := im.value(where, name, a)
		if a.Type == "named" && (given || a.IsRequired) {
			args = append(args, a.Name)
		}
		if given && v != "" {
			args = append(args, v)
		}
		if a.Format == "filepath" {
			im.note("%.100s is a file or folder: inside of its sandbox a server has /state, with state: true, and nothing of yours.", name)
		}
		if a.IsRepeated {
			im.note("The argument %.100s may be given several times.", name)
		}
	}
	if len(args) > 0 {
		im.spec["args"] = args
	}
	im.environment(g.EnvironmentVariables)
	im.note("Servers of kind stdio reach nothing on the network. What this one has to connect to belongs under connection.egress, such as api.example.com:443.")
	return ""
}

func (im *importer) environment(list []input) {
	env, secrets := map[string]string{}, map[string]any{}
	for _, e := range list {
		switch {
		case !variable.MatchString(e.Name):
			im.note("It asks for a variable %.80q, which is none.", e.Name)
		case secretHere(e) && !e.IsRequired:
			im.note("The secret %s can be set, under connection.secrets, and need not be. %s", e.Name, atMost(e.Description, 300))
		case secretHere(e):
			secrets[e.Name] = secretPlace(e.Name)
			e.IsSecret = true
			im.miss("/connection/secrets/"+pointed(e.Name), e.Name, e)
		default:
			if v, given := im.value("/spec/env/"+pointed(e.Name), e.Name, e); given {
				env[e.Name] = v
			}
		}
	}
	if len(env) > 0 {
		im.spec["env"] = env
	}
	if len(secrets) > 0 {
		im.connection["secrets"] = secrets
	}
}

func pointed(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

func envName(slug, name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(slug+"_"+name))
}

// secretPlace is where a secret belongs: as the API takes it, or as a file does.
type secretPlace string

func (secretPlace) MarshalJSON() ([]byte, error) { return []byte(`{"secret":""}`), nil }

func (s secretPlace) MarshalYAML() (any, error) { return map[string]string{"env": string(s)}, nil }

// finish writes what was found.
func (im *importer) finish() (err error) {
	write := func(m map[string]any) (json.RawMessage, error) {
		if len(m) == 0 {
			return nil, nil
		}
		return json.Marshal(m)
	}
	if im.Connection, err = write(im.connection); err != nil {
		return err
	}
	if im.Spec, err = write(im.spec); err != nil {
		return err
	}
	entry := struct {
		Slug        string
		Kind        string
		Title       string         `yaml:",omitempty"`
		Description string         `yaml:",omitempty"`
		Connection  map[string]any `yaml:",omitempty"`
		Spec        map[string]any `yaml:",omitempty"`
	}{im.Slug, im.Kind, im.Title, im.Description, im.connection, im.spec}
	text, err := yaml.Marshal([]any{entry})
	im.YAML = string(text)
	return err
}
