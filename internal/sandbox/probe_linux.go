package sandbox

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Findings reads what an attack printed, until its end.
func Findings(p Process) (all []Finding) {
	out, _ := p.Stdio()
	defer out.Close()
	for s := bufio.NewScanner(out); s.Scan() && len(all) < 10_000; {
		var f Finding
		if json.Unmarshal(s.Bytes(), &f) == nil {
			all = append(all, f)
		}
	}
	return all
}

// trial is what Probe starts, and what must have come of it.
type trial struct {
	attack Attack
	limits Limits
	state  bool
	judge  func(found []Finding, e Exit) []Finding
}

// probe attacks a sandbox of the driver, all rules at the same time.
func probe(ctx context.Context, d Driver, b *base, own bool) (g Guarantees, err error) {
	bait, err := layBait(b)
	if err != nil {
		return g, err
	}
	bait.attack.OwnKernel = own
	defer bait.remove()
	small := Limits{MemoryBytes: minMemory, Pids: 32, TmpBytes: 4 << 20, StateBytes: 1 << 20}
	trials := []trial{
		{attack: bait.attack, limits: Limits{}, state: true},
		{attack: Attack{Hoard: "forks", Count: 400}, limits: Limits{MemoryBytes: 512 << 20, Pids: 32}, judge: func(found []Finding, e Exit) []Finding {
			return []Finding{{"pids", "fork without end", e.OutOfPids || len(found) > 0 && found[0].Held, fmt.Sprintf("ended with %d", e.Code)}}
		}},
		{attack: Attack{Hoard: "tmp", Bytes: 16 << 20}, limits: small},
		// Parts that are small beside what each process may reserve.
		{attack: Attack{Hoard: "memory", Count: 6, Bytes: 24 << 20}, limits: small, judge: func(found []Finding, e Exit) []Finding {
			return []Finding{{"memory", "take more together than allowed", e.OutOfMemory, fmt.Sprintf("ended with %d, %v", e.Code, found)}}
		}},
		{attack: Attack{Hoard: "state", State: "/state", Bytes: 2 << 20}, limits: small, state: true, judge: func(_ []Finding, e Exit) []Finding {
			return []Finding{{"disk", "fill the state", e.OutOfDisk, fmt.Sprintf("ended with %d", e.Code)}}
		}},
	}
	results := make([][]Finding, len(trials))
	errs := make([]error, len(trials))
	var all sync.WaitGroup
	for i, t := range trials {
		all.Go(func() { results[i], errs[i] = t.run(ctx, d, bait, fmt.Sprint("probe", i)) })
	}
	all.Wait()
	held, notes := map[string]bool{}, map[string]string{}
	for i := range trials {
		if errs[i] != nil {
			return g, errs[i]
		}
		for _, f := range results[i] {
			if before, seen := held[f.Rule]; !f.Held && (before || !seen) {
				notes[f.Rule] = fmt.Sprintf("%s: could %s (%s)", f.Rule, f.Try, f.Said)
			}
			held[f.Rule] = f.Held && notes[f.Rule] == ""
		}
	}
	g = Guarantees{
		Files: held["files"], Processes: held["processes"], Network: held["network"], Memory: held["memory"], Pids: held["pids"],
		Disk: held["disk"], Syscalls: held["syscalls"], Kernel: own, CPU: b.cgroups != nil && b.cgroups.cpu,
	}
	for _, rule := range g.Missing() {
		if notes[rule] != "" {
			g.Notes = append(g.Notes, notes[rule])
		}
	}
	g.Notes = append(g.Notes, b.notes()...)
	return g, nil
}

// notes say what is held less firmly than it could be, and what would do it.
func (b *base) notes() (all []string) {
	if b.cgroups == nil {
		all = append(all,
			"memory: the kernel bounds each process; all together are counted by the worker, several times a second, so that a burst may go over for a moment. A cgroup would bound them: "+b.noCgroup.Error(),
			"cpu: no quota, only a lower priority than the worker's, for the same reason")
	} else if !b.cgroups.cpu {
		all = append(all, "cpu: the cpu controller is not delegated")
	}
	all = append(all, "disk: a state folder is measured several times a second, so that a burst may go over for a moment; keep it on a volume that bounds all of them")
	if !b.root {
		all = append(all, "users: all sandboxes run as the worker's own user, and only namespaces keep tenants apart. As root, each tenant's server would have a user of its own")
	}
	return all
}

// run has a server, and so a user, of its own: the kernel counts by user.
func (t trial) run(ctx context.Context, d Driver, b *bait, server string) ([]Finding, error) {
	spec := Spec{Tenant: "probe", Server: server, Argv: t.attack.Command(), Limits: t.limits}
	if t.state {
		dir, err := os.MkdirTemp(b.dir, "state-")
		if err != nil {
			return nil, err
		}
		spec.State = []Mount{{dir, "/state"}}
	}
	p, err := d.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	// The longest waits for a bound that must end it, which takes a moment; on a
	// busy machine, several.
	late := time.AfterFunc(15*time.Second, func() { p.Stop(0) })
	defer late.Stop()
	stop := context.AfterFunc(ctx, func() { p.Stop(0) })
	defer stop()
	found := Findings(p)
	exit := p.Wait()
	p.Stop(0) // closes what is ours
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if t.judge != nil {
		return t.judge(found, exit), nil
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("the probe said nothing: exit code %d, %s", exit.Code, exit.Stderr)
	}
	return found, nil
}

// bait is what of this machine the probe tries to reach.
type bait struct {
	dir    string
	tcp    net.Listener
	unix   net.Listener
	attack Attack
}

func layBait(b *base) (*bait, error) {
	x := &bait{}
	var err error
	if x.dir, err = os.MkdirTemp(b.sockets, "probe-"); err != nil {
		return nil, err
	}
	file := filepath.Join(x.dir, "file")
	if err = os.WriteFile(file, []byte("reachable"), 0o644); err == nil {
		x.tcp, err = net.Listen("tcp", "127.0.0.1:0")
	}
	name := "latchkey-" + strings.ToLower(rand.Text()[:12])
	if err == nil {
		x.unix, err = net.Listen("unix", "@"+name)
	}
	if err != nil {
		x.remove()
		return nil, err
	}
	x.attack = Attack{
		Read: []string{file, b.opts.Dir}, Write: []string{x.dir, b.opts.Dir}, Signal: []int{os.Getpid()}, Dial: []string{x.tcp.Addr().String()},
		Abstract: []string{name}, State: "/state",
	}
	return x, nil
}

func (x *bait) remove() {
	for _, l := range []net.Listener{x.tcp, x.unix} {
		if l != nil {
			l.Close()
		}
	}
	os.RemoveAll(x.dir)
}

// Probe implements Driver.
func (d *bwrap) Probe(ctx context.Context) (Guarantees, error) {
	return probe(ctx, d, d.base, false)
}
