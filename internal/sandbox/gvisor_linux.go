package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// gvisor runs processes on a kernel of their own, which is a program without
// rights on the host: what is broken inside is that program. It runs as the
// tenant's user, in a pid namespace that ends with it.
type gvisor struct {
	*base
	program string
}

func openGvisor(b *base) (Driver, error) {
	program, err := find(b.opts.Runsc, "runsc", "LATCHKEY_SANDBOX_RUNSC")
	if err != nil {
		return nil, fmt.Errorf("%w: `make runsc` builds it beside the worker", err)
	}
	if !b.root {
		return nil, errors.New("gVisor is run here only by a worker that is root, for each server to have a user of its own")
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return nil, err
	}
	return &gvisor{base: b, program: program}, nil
}

func (*gvisor) Name() string { return "gvisor" }

// Probe implements Driver.
func (d *gvisor) Probe(ctx context.Context) (Guarantees, error) {
	return probe(ctx, d, d.base, true)
}

// gvisorThreads are the sentry's and the gofer's own on the host.
const gvisorThreads = 96

func (d *gvisor) Start(ctx context.Context, s Spec) (Process, error) {
	in, err := d.begin(&s)
	if err != nil {
		return nil, err
	}
	id := "mcp-" + strings.ToLower(rand.Text()[:16])
	bundle := filepath.Join(d.sockets, id)
	in.launch.cleanup = append(in.launch.cleanup, func() { os.RemoveAll(bundle) })
	if err := in.bundle(bundle, &s); err != nil {
		in.abort()
		return nil, err
	}
	l := &in.launch
	l.inside.Limits = slices.DeleteFunc(l.inside.Limits, func(r rlimit) bool {
		return !slices.Contains([]int{syscall.RLIMIT_NOFILE, syscall.RLIMIT_CORE, syscall.RLIMIT_FSIZE}, r.Resource)
	})
	l.inside.Nice = 0
	l.bounds.driver = gvisorThreads
	l.stage.Alone = true
	l.inside.Control = firstFD                                  // runsc passes no signals on
	l.stage.NProc = uint64(8 * (s.Limits.Pids + gvisorThreads)) // of all processes of this server
	l.stage.Env = []string{"PATH=/usr/bin:/bin"}
	l.stage.Exec = in.source(d.program)
	own := filepath.Join(d.stage, stateFolder)
	l.stage.Args = []string{
		"--rootless", "--network=none", "--ignore-cgroups", "--overlay2=none", "--directfs=false", "--host-uds=open",
		"--root=" + own, "--log=" + filepath.Join(own, "log"),
		"run", "--bundle=" + in.source(bundle), fmt.Sprintf("--pass-fd=%d:%d", insideFD, insideFD), fmt.Sprintf("--pass-fd=%d:%d", readyFD, readyFD),
		fmt.Sprintf("--pass-fd=%d:%d", firstFD, firstFD), id,
	}
	p, err := start(ctx, *l)
	if err != nil {
		return nil, fmt.Errorf("gvisor: %w", err)
	}
	return p, nil
}

// The parts of an OCI runtime specification that are used.
type (
	ociSpec struct {
		Version  string     `json:"ociVersion"`
		Hostname string     `json:"hostname"`
		Root     ociRoot    `json:"root"`
		Process  ociProcess `json:"process"`
		Mounts   []ociMount `json:"mounts"`
		Linux    ociLinux   `json:"linux"`
	}
	ociRoot struct {
		Path     string `json:"path"`
		Readonly bool   `json:"readonly"`
	}
	ociProcess struct {
		Args            []string            `json:"args"`
		Env             []string            `json:"env"`
		Cwd             string              `json:"cwd"`
		User            map[string]int      `json:"user"`
		NoNewPrivileges bool                `json:"noNewPrivileges"`
		Capabilities    map[string][]string `json:"capabilities"`
	}
	ociMount struct {
		Type        string   `json:"type"`
		Source      string   `json:"source"`
		Destination string   `json:"destination"`
		Options     []string `json:"options"`
	}
	ociLinux struct {
		Namespaces []map[string]string `json:"namespaces"`
	}
)

// bundle writes what the runtime reads. Secrets are not in it: the environment
// goes by a file in memory to the inner helper, as with every driver.
func (in *instance) bundle(dir string, s *Spec) error {
	root := filepath.Join(dir, "rootfs")
	for _, d := range []string{"proc", "dev", "tmp", "etc", "sys"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	spec := ociSpec{
		Version: "1.0.2", Hostname: "mcp", Root: ociRoot{"rootfs", true},
		Process: ociProcess{
			Args: []string{ours + "/helper", helperWord, "inside"}, Env: []string{}, Cwd: "/", User: map[string]int{"uid": 0, "gid": 0}, NoNewPrivileges: true,
			Capabilities: map[string][]string{"bounding": {}, "effective": {}, "permitted": {}, "inheritable": {}, "ambient": {}},
		},
		Linux: ociLinux{Namespaces: []map[string]string{{"type": "pid"}, {"type": "mount"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}}},
	}
	mount := func(kind, source, target string, options ...string) error {
		spec.Mounts = append(spec.Mounts, ociMount{kind, source, target, options})
		at := filepath.Join(root, target)
		if kind == "bind" {
			if info, err := os.Stat(source); err == nil && !info.IsDir() {
				if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
					return err
				}
				return os.WriteFile(at, nil, 0o644)
			}
		}
		return os.MkdirAll(at, 0o755)
	}
	var errs []error
	bind := func(source, target, mode string) {
		errs = append(errs, mount("bind", source, target, "rbind", mode))
		spec.Mounts[len(spec.Mounts)-1].Source = in.source(source)
	}
	links, paths := system()
	for _, p := range paths {
		bind(p, p, "ro")
	}
	for _, l := range links {
		errs = append(errs, os.Symlink(l[1], filepath.Join(root, l[0])))
	}
	for _, f := range settings(0) {
		errs = append(errs, os.WriteFile(filepath.Join(root, f[0]), []byte(f[1]), 0o644))
	}
	shm := s.Limits.TmpBytes / 8
	errs = append(errs, mount("proc", "proc", "/proc"), mount("tmpfs", "tmpfs", "/dev/shm", "mode=1777", "size="+strconv.FormatInt(shm, 10)),
		mount("tmpfs", "tmpfs", "/tmp", "mode=1777", "size="+strconv.FormatInt(s.Limits.TmpBytes-shm, 10)))
	for _, m := range s.ReadOnly {
		bind(m.Source, m.Target, "ro")
	}
	for _, m := range s.State {
		bind(m.Source, m.Target, "rw")
	}
	for i, target := range slices.Sorted(maps.Keys(s.Files)) {
		in.launch.stage.Files = append(in.launch.stage.Files, s.Files[target])
		at := filepath.Join(root, target)
		errs = append(errs, os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, nil, 0o644))
		spec.Mounts = append(spec.Mounts, ociMount{"bind", filepath.Join(in.stage, "f"+strconv.Itoa(i)), target, []string{"rbind", "ro"}})
	}
	bind(in.helper, ours+"/helper", "ro")
	if in.socket != "" {
		bind(in.socket, ours+"/egress", "ro")
		if b := certificateBundle(); b != "" {
			bind(b, certificates, "ro")
		}
	}
	b, err := json.Marshal(spec)
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.json"), b, 0o644)
}
