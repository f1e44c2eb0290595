package sandbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

var errNoHelper = errors.New("sandbox.Helper has to be the first statement of main")

// base is what drivers share: who runs processes, where, and under which group.
type base struct {
	opts     Options
	root     bool   // this worker may become other users and mount
	stage    string // where the outer helper gathers mounts
	helper   string
	uids     *uids
	cgroups  *cgroups
	noCgroup error // why there are none
	sockets  string
	lock     *os.File // in sockets; held as long as this process lives
	folder   *os.File // sockets itself
}

func openBase(o Options) (*base, error) {
	if !helperCalled {
		return nil, errNoHelper
	}
	b := &base{opts: o, root: mayBecomeOthers()}
	exe, err := o.Helper, error(nil)
	if exe == "" {
		exe, err = os.Executable()
	}
	if err == nil {
		b.helper, err = filepath.EvalSymlinks(exe)
	}
	if err != nil {
		return nil, fmt.Errorf("this program's file: %w", err)
	}
	if err := os.MkdirAll(o.Dir, 0o711); err != nil {
		return nil, fmt.Errorf("the sandbox's folder (LATCHKEY_SANDBOX_DIR): %w", err)
	}
	if b.root {
		if b.stage, err = stageFolder(); err != nil {
			return nil, err
		}
		b.uids = &uids{dir: filepath.Join(o.Dir, "uids"), UIDs: o.UIDs}
		if err := os.MkdirAll(b.uids.dir, 0o700); err != nil {
			return nil, err
		}
	}
	if err := b.makeSocketFolder(); err != nil {
		return nil, err
	}
	b.cgroups, b.noCgroup = openCgroups(o.Cgroup)
	if b.noCgroup != nil && o.Cgroup != "" {
		return nil, b.noCgroup // asked for by name
	}
	return b, nil
}

// makeSocketFolder makes a folder of this process, and removes those of others
// that are gone.
func (b *base) makeSocketFolder() error {
	all := filepath.Join(b.opts.Dir, "run")
	if err := os.MkdirAll(all, 0o700); err != nil {
		return err
	}
	left, _ := filepath.Glob(filepath.Join(all, "*"))
	for _, dir := range left {
		// A folder without a lock yet is being made.
		if f, err := os.Open(filepath.Join(dir, "lock")); err == nil {
			if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
				os.RemoveAll(dir)
			}
			f.Close()
		}
	}
	b.sockets = filepath.Join(all, rand.Text()[:8])
	if err := os.Mkdir(b.sockets, 0o700); err != nil {
		return err
	}
	var err error
	if b.folder, err = os.Open(b.sockets); err != nil {
		return err
	}
	if b.lock, err = os.Create(filepath.Join(b.sockets, "lock")); err != nil {
		return err
	}
	return unix.Flock(int(b.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// mayBecomeOthers reports whether this process has a superuser's rights that
// count: in a container root often has few.
func mayBecomeOthers() bool {
	if os.Geteuid() != 0 {
		return false
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if unix.Capget(&head, &caps[0]) != nil {
		return false
	}
	for _, c := range []uint{unix.CAP_SYS_ADMIN, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_CHOWN, unix.CAP_KILL, unix.CAP_DAC_OVERRIDE} {
		if caps[c/32].Effective&(1<<(c%32)) == 0 {
			return false
		}
	}
	return true
}

// stageFolder is a folder of every system that every account may enter. What is
// mounted there is in a namespace of the helper's own.
func stageFolder() (string, error) {
	for _, dir := range []string{"/mnt", "/media", "/srv", "/opt", "/run"} {
		if info, err := os.Lstat(dir); err == nil && info.IsDir() && info.Mode().Perm()&0o001 != 0 {
			return dir, nil
		}
	}
	return "", errors.New("none of /mnt, /media, /srv, /opt and /run is a folder that everybody may enter")
}

// instance is a sandbox in the making.
type instance struct {
	*base
	launch launch
	uid    int
	socket string // of the egress proxy
}

// begin does what every driver has to before a start.
func (b *base) begin(s *Spec) (_ *instance, err error) {
	s.Limits = s.Limits.withDefaults()
	if err := s.validate(); err != nil {
		return nil, err
	}
	in := &instance{base: b}
	defer func() {
		if err != nil {
			in.abort()
		}
	}()
	if b.root {
		if in.uid, err = b.uids.of(s.Tenant, s.Server); err != nil {
			return nil, fmt.Errorf("a user for %s/%s: %w", s.Tenant, s.Server, err)
		}
		in.launch.stage.UID, in.launch.stage.Dir = in.uid, b.stage
	}
	for _, m := range s.State {
		if err := in.own(m.Source); err != nil {
			return nil, fmt.Errorf("state: %w", err)
		}
	}
	if used := stateBytes(s.State, s.Limits.StateBytes); used > s.Limits.StateBytes {
		return nil, fmt.Errorf("%w: more than %d MB", ErrStateFull, s.Limits.StateBytes>>20)
	}
	if b.cgroups != nil {
		group, err := b.cgroups.add(s.Limits)
		if err != nil {
			return nil, fmt.Errorf("a cgroup: %w", err)
		}
		in.launch.group = group
		in.launch.cleanup = append(in.launch.cleanup, group.remove)
	}
	counted := in.launch.group != nil
	in.launch.timeout = b.opts.StartTimeout
	in.launch.bounds = &bounds{limits: s.Limits, state: s.State, memory: !counted}
	in.launch.inside = insideSpec{Argv: s.Argv, Dir: s.Dir, Limits: limitsInside(s.Limits, counted)}
	if !counted {
		in.launch.inside.Nice = 5 // the worker comes first
	}
	proxy := ""
	if len(s.Egress) > 0 {
		if err := in.openGate(s); err != nil {
			return nil, fmt.Errorf("the egress proxy: %w", err)
		}
		proxy = "http://" + proxyAddress
		in.launch.inside.Proxy = ours + "/egress"
	}
	in.launch.inside.Env = s.environment(proxy)
	return in, nil
}

// openGate listens where only this sandbox will find it.
func (in *instance) openGate(s *Spec) error {
	name := rand.Text()[:12]
	in.socket = filepath.Join(in.sockets, name)
	// The folder's own path may be longer than a socket's address can be.
	l, err := net.Listen("unix", fmt.Sprintf("/proc/self/fd/%d/%s", in.folder.Fd(), name))
	if err != nil {
		return err
	}
	if in.uid != 0 {
		err = os.Chown(in.socket, in.uid, in.uid)
	}
	if err == nil {
		err = os.Chmod(in.socket, 0o600)
	}
	if err != nil {
		l.Close()
		return err
	}
	g, err := openGate(l, s.Egress, in.opts.Egress, in.opts.Log.With("tenant", s.Tenant, "server", s.Server))
	if err != nil {
		l.Close()
		return err
	}
	in.launch.cleanup = append(in.launch.cleanup, g.Close)
	return nil
}

func (in *instance) abort() {
	for _, f := range in.launch.cleanup {
		f()
	}
}

// source is where bubblewrap finds a path of the host.
func (in *instance) source(path string) string {
	if !in.root {
		return path
	}
	in.launch.stage.Binds = append(in.launch.stage.Binds, path)
	return filepath.Join(in.stage, strconv.Itoa(len(in.launch.stage.Binds)-1))
}

// own gives a state folder to the user that the sandbox runs as. Links are
// given, never followed.
func (in *instance) own(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("%s is not a folder", dir)
	}
	if in.uid == 0 || int(st.Uid) == in.uid {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	// The folder itself last: only then all of it was given.
	if err := fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		return root.Lchown(path, in.uid, in.uid)
	}); err != nil {
		return err
	}
	return root.Lchown(".", in.uid, in.uid)
}
