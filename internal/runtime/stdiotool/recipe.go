package stdiotool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/packages"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/sandbox"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// recipe is all that the processes of a server are made of, but for their
// secrets and the person whose they are.
type recipe struct {
	tenant     tenants.ID
	server     registry.ServerID
	revision   registry.RevisionID
	spec       spec
	connection connection
	host       runtime.Host
	perUser    bool

	mu   sync.Mutex
	tree packages.Installed // where there is a package or download, once it is here
	hash string             // likewise
}

// prepare has the program installed, which may take longer than a call.
func (r *recipe) prepare(ctx context.Context) error {
	if r.mark() != "" {
		return nil
	}
	got, err := r.spec.install(ctx, r.host.Packages)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tree, r.hash = got, r.sum(got)
	return nil
}

// sum names what makes processes alike: two revisions that differ in a tool's
// scope share one.
func (r *recipe) sum(tree packages.Installed) string {
	s := r.spec
	raw, err := json.Marshal([]any{tree.Dir, tree.Entry, s.Command, s.Files, s.Args, s.Env, s.Dir, s.State, s.PerUser, s.Stateless, s.Protocol, s.Sandbox, s.Limits, r.connection, r.perUser})
	if err != nil { // texts and numbers only
		panic(err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// mark is empty while the program is not installed: then nothing runs.
func (r *recipe) mark() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	// What nothing used for long is removed from the cache.
	if r.hash != "" && (!r.spec.installs() || exists(r.tree.Dir)) {
		return r.hash
	}
	got, there := r.spec.find(r.host.Packages)
	if !there {
		return ""
	}
	r.tree, r.hash = got, r.sum(got)
	return r.hash
}

// hold keeps the program where it is for as long as a process runs it.
func (r *recipe) hold() (release func(), err error) {
	if !r.spec.installs() {
		return func() {}, nil
	}
	release, err = r.host.Packages.Hold(r.program())
	switch {
	case errors.Is(err, packages.ErrGone):
		return nil, fault.New(fault.Busy, "The server's program has to be installed again. Nothing was done; call again in a few seconds.").After(2 * time.Second).Because(err)
	case err != nil:
		return nil, fault.New(fault.NoWorker, "The worker cannot use its cache folder. Nothing was done; tell the operator that it has to be on a disk of the machine, with locks.").Because(err)
	}
	return release, nil
}

func (r *recipe) program() packages.Installed {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tree
}

// of names whose process it is.
func (r *recipe) of(u tenants.UserID) string {
	switch {
	case !r.perUser:
		return "shared"
	case u == "":
		return "nobody" // of the control plane's own calls
	}
	return string(u)
}

// sandboxed is what the driver runs. state is the folder of the host, or empty.
func (r *recipe) sandboxed(whose, state string, secrets map[string]secret.Text) (sandbox.Spec, error) {
	s := &r.spec
	out := sandbox.Spec{
		Tenant: string(r.tenant), Server: string(r.server), Dir: s.Dir,
		Env: map[string]secret.Text{}, Files: map[string]secret.Text{}, Egress: r.connection.Egress,
		Limits: sandbox.Limits{MemoryBytes: s.Limits.Memory, Pids: s.Limits.Pids, CPUMillis: s.Limits.CPUMillis, TmpBytes: s.Limits.Tmp, StateBytes: s.Limits.State},
	}
	if r.perUser { // with a user id of the host, and bounds, of its own
		out.Server += "." + whose
	}
	argv, err := r.argv(&out)
	if err != nil {
		return out, err
	}
	out.Argv = append(argv, s.Args...)
	for name, content := range s.Files {
		out.Files[path.Join(appDir, name)] = secret.Text(content)
	}
	if s.State {
		out.State = []sandbox.Mount{{Source: state, Target: stateDir}}
		out.Env["HOME"] = secret.Text(stateDir)
		if out.Dir == "" {
			out.Dir = stateDir
		}
	}
	if out.Dir == "" {
		out.Dir = "/tmp"
	}
	for name, v := range s.Env {
		out.Env[name] = secret.Text(v)
	}
	for field, v := range secrets {
		if name, ok := strings.CutPrefix(field, "secrets."); ok {
			out.Env[name] = v
		} else if name, ok := strings.CutPrefix(field, "files."); ok {
			out.Files[path.Join(secretsDir, name)] = v
		}
	}
	return out, nil
}

// argv is the program, for which it mounts what that needs.
func (r *recipe) argv(out *sandbox.Spec) ([]string, error) {
	s := &r.spec
	argv := append([]string(nil), s.Command...)
	if s.installs() {
		program := r.program()
		out.ReadOnly = append(out.ReadOnly, sandbox.Mount{Source: program.Dir, Target: packageDir})
		argv = []string{"node", path.Join(packageDir, program.Entry)}
		if program.Native {
			argv = argv[1:]
		}
	}
	if argv[0] != "node" {
		return argv, nil
	}
	node, err := r.node(out)
	if err != nil {
		return nil, err
	}
	argv[0] = node
	// V8 does not see the sandbox's bound by itself, and would be killed where it
	// could have cleaned up.
	out.Env["NODE_OPTIONS"] = secret.Text(fmt.Sprintf("--max-old-space-size=%d", s.Limits.Memory*3/4/mb))
	return argv, nil
}

// node gives the runtime's path inside. What is below /usr is there already.
func (r *recipe) node(out *sandbox.Spec) (string, error) {
	cache := r.host.Packages
	if cache == nil {
		cache = packages.New(packages.Options{})
	}
	node, err := cache.Node()
	if err != nil || strings.HasPrefix(node, "/usr/") {
		return node, err
	}
	const inside = "/opt/node/bin/node"
	out.ReadOnly = append(out.ReadOnly, sandbox.Mount{Source: node, Target: inside})
	return inside, nil
}
