package sandbox

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// bwrap runs processes by bubblewrap: namespaces, a root of its own and a
// filter on the host's kernel.
type bwrap struct {
	*base
	program string
}

func (*bwrap) Name() string { return "bwrap" }

func (d *bwrap) Start(ctx context.Context, s Spec) (Process, error) {
	in, err := d.begin(&s)
	if err != nil {
		return nil, err
	}
	b := &bwrapArgs{in: in}
	if err := b.build(&s); err != nil {
		in.abort()
		closeAll(b.files)
		return nil, err
	}
	args, err := memoryFile("args", []byte(strings.Join(b.args, "\x00")+"\x00"))
	if err != nil {
		in.abort()
		closeAll(b.files)
		return nil, err
	}
	in.launch.files = append(b.files, args)
	// All of it by a file: a command line is for everybody to see.
	in.launch.stage.Exec = d.program
	in.launch.stage.Args = []string{"--args", strconv.Itoa(firstFD + len(b.files)), "--", ours + "/helper", helperWord, "inside"}
	p, err := start(ctx, in.launch)
	if err != nil {
		return nil, fmt.Errorf("bwrap: %w", err)
	}
	return p, nil
}

// bwrapArgs collects bubblewrap's arguments and the files they refer to.
type bwrapArgs struct {
	in    *instance
	args  []string
	files []*os.File
}

func (b *bwrapArgs) add(args ...string) { b.args = append(b.args, args...) }

// data makes a file in memory and gives the number it will have.
func (b *bwrapArgs) data(name string, content []byte) (string, error) {
	f, err := memoryFile(name, content)
	if err != nil {
		return "", err
	}
	b.files = append(b.files, f)
	return strconv.Itoa(firstFD + len(b.files) - 1), nil
}

func (b *bwrapArgs) file(target, mode, content string) error {
	fd, err := b.data("file", []byte(content))
	if err == nil {
		b.add("--perms", mode, "--ro-bind-data", fd, target)
	}
	return err
}

func (b *bwrapArgs) build(s *Spec) error {
	b.add("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--disable-userns",
		"--uid", "1000", "--gid", "1000", "--hostname", "mcp", "--die-with-parent", "--new-session", "--cap-drop", "ALL",
		"--json-status-fd", strconv.Itoa(statusFD))
	b.system()
	shm := s.Limits.TmpBytes / 8
	b.add("--proc", "/proc", "--dev", "/dev",
		"--size", strconv.FormatInt(shm, 10), "--perms", "1777", "--tmpfs", "/dev/shm", "--remount-ro", "/dev",
		"--size", strconv.FormatInt(s.Limits.TmpBytes-shm, 10), "--perms", "1777", "--tmpfs", "/tmp")
	for _, f := range settings(1000) {
		if err := b.file(f[0], "0444", f[1]); err != nil {
			return err
		}
	}
	for _, m := range s.ReadOnly {
		b.add("--ro-bind", b.in.source(m.Source), m.Target)
	}
	for _, m := range s.State {
		b.add("--bind", b.in.source(m.Source), m.Target)
	}
	for target, content := range s.Files {
		if err := b.file(target, "0400", content.Reveal()); err != nil {
			return err
		}
	}
	b.add("--ro-bind", b.in.source(b.in.helper), ours+"/helper")
	if b.in.socket != "" {
		b.add("--ro-bind", b.in.source(b.in.socket), ours+"/egress")
		if bundle := certificateBundle(); bundle != "" {
			b.add("--ro-bind", bundle, certificates)
		}
	}
	b.add("--remount-ro", "/", "--chdir", "/")
	program, err := filter(b.in.launch.group != nil)
	if err != nil {
		return err
	}
	fd, err := b.data("filter", program)
	b.add("--seccomp", fd)
	return err
}

// system shows the programs and libraries of the host.
func (b *bwrapArgs) system() {
	links, folders := system()
	for _, l := range links {
		b.add("--symlink", l[1], l[0])
	}
	for _, path := range folders {
		b.add("--ro-bind", path, path)
	}
}
