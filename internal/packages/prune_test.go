package packages

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain is a worker too, which has a tree in use until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LATCHKEY_TEST_HOLD"); dir != "" {
		if _, err := hold(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("held")
		select {}
	}
	os.Exit(m.Run())
}

// fill fetches downloads of 100 KB by name.
func fill(t *testing.T, c *Cache, d *depot, names ...string) map[string]Download {
	t.Helper()
	all := map[string]Download{}
	for _, name := range names {
		all[name] = d.put(name, []byte(strings.Repeat(name, 100<<10/len(name))), "")
		if _, err := c.Fetch(t.Context(), all[name]); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// age has something last used so long ago.
func age(t *testing.T, dir string, by time.Duration) {
	t.Helper()
	at := time.Now().Add(-by)
	if err := os.Chtimes(dir, at, at); err != nil {
		t.Fatal(err)
	}
}

func pruned(t *testing.T, c *Cache) {
	t.Helper()
	if err := c.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// there gives the names that are still in the cache, in order.
func there(c *Cache, all map[string]Download, names ...string) string {
	var left []string
	for _, name := range names {
		if _, ok := c.FindDownload(all[name]); ok {
			left = append(left, name)
		}
	}
	return strings.Join(left, " ")
}

func TestUnusedTreesAreRemoved(t *testing.T) {
	d, c := newDepot(t), downloads(t, true)
	all := fill(t, c, d, "old", "running", "young")
	age(t, c.downloadTree(all["old"]), unusedFor+time.Hour)
	got, _ := c.FindDownload(all["running"])
	release, err := c.Hold(got)
	if err != nil {
		t.Fatal(err)
	}
	age(t, got.Dir, unusedFor+time.Hour) // since its process began
	age(t, c.downloadTree(all["young"]), unusedFor-time.Hour)
	pruned(t, c)
	if left := there(c, all, "old", "running", "young"); left != "running young" {
		t.Errorf("left are %s", left)
	}
	release()
	pruned(t, c)
	if left := there(c, all, "running"); left == "" {
		t.Error("removed when its process had just ended")
	}
	age(t, got.Dir, unusedFor+time.Hour)
	pruned(t, c)
	if left := there(c, all, "running"); left != "" {
		t.Error("it is still there")
	}
	if _, err := c.Hold(got); !errors.Is(err, ErrGone) {
		t.Errorf("holding it: %v", err)
	}
	if _, err := c.Fetch(t.Context(), all["old"]); err != nil {
		t.Errorf("not fetched anew: %v", err)
	}
}

func TestCacheKeepsToItsBound(t *testing.T) {
	d, c := newDepot(t), downloads(t, true)
	c.opts.MaxTotal = 250 << 10
	all := fill(t, c, d, "first", "second", "third")
	pruned(t, c)
	if left := there(c, all, "first", "second", "third"); left != "first second third" {
		t.Errorf("what was just installed is gone; left are %s", left)
	}
	for name, hours := range map[string]time.Duration{"first": 3, "second": 2, "third": 1} {
		age(t, c.downloadTree(all[name]), hours*time.Hour)
	}
	got, _ := c.FindDownload(all["first"])
	release, err := c.Hold(got)
	if err != nil {
		t.Fatal(err)
	}
	age(t, got.Dir, 3*time.Hour)
	pruned(t, c)
	if left := there(c, all, "first", "second", "third"); left != "first third" {
		t.Errorf("left are %s", left)
	}
	release()
	fill(t, c, d, "fourth")
	age(t, got.Dir, 3*time.Hour)
	pruned(t, c)
	if left := there(c, all, "first", "third"); left != "third" {
		t.Errorf("left are %s", left)
	}
}

func TestWhatWasUsedSinceItWasLookedAtStays(t *testing.T) {
	d, c := newDepot(t), downloads(t, true)
	all := fill(t, c, d, "program")
	tree := c.downloadTree(all["program"])
	if gone, err := remove(kept{dir: tree, used: time.Now().Add(-2 * unusedFor)}); gone || err != nil || there(c, all, "program") == "" {
		t.Errorf("gone: %v, %v", gone, err)
	}
}

// Each worker of the machine prunes; none removes what another one runs, and
// one that is killed holds nothing.
func TestTreeThatAnotherWorkerRunsStays(t *testing.T) {
	d, c := newDepot(t), downloads(t, true)
	all := fill(t, c, d, "program")
	tree := c.downloadTree(all["program"])
	other := exec.CommandContext(t.Context(), os.Args[0])
	other.Env = append(os.Environ(), "LATCHKEY_TEST_HOLD="+tree)
	out, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if said, err := bufio.NewReader(out).ReadString('\n'); said != "held\n" {
		t.Fatalf("%q, %v", said, err)
	}
	age(t, tree, unusedFor+time.Hour)
	pruned(t, c)
	if there(c, all, "program") == "" {
		t.Fatal("removed beneath another worker's process")
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	other.Wait()
	age(t, tree, unusedFor+time.Hour)
	pruned(t, c)
	if there(c, all, "program") != "" {
		t.Error("kept for a worker that is no more")
	}
}

// Two workers prune while others install and run: what is held is whole, and
// what is gone is fetched anew.
func TestPruningDoesNotDisturbUse(t *testing.T) {
	d, c := newDepot(t), downloads(t, true)
	c.opts.MaxTotal = 1
	all := fill(t, c, d, "a", "b")
	other := New(c.opts)
	done := make(chan struct{})
	var users, pruners sync.WaitGroup
	for _, w := range []*Cache{c, other} {
		pruners.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, p := range all { // a month goes by
					at := time.Now().Add(-2 * unusedFor)
					_ = os.Chtimes(w.downloadTree(p), at, at)
				}
				if err := w.prune(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 4 {
		w, p := []*Cache{c, other}[i%2], all[[]string{"a", "b"}[i/2]]
		users.Go(func() {
			for end := time.Now().Add(time.Minute); d.asked.Load() < 20; { // two, and what was removed
				if time.Now().After(end) {
					t.Error("hardly anything is removed")
					return
				}
				got, err := w.Fetch(t.Context(), p)
				if err != nil {
					t.Error(err)
					return
				}
				release, err := w.Hold(got)
				if errors.Is(err, ErrGone) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if st, err := os.Stat(filepath.Join(got.Dir, got.Entry)); err != nil || st.Size() < 90<<10 {
					t.Errorf("in use and not whole: %v, %v", st, err)
				}
				release()
			}
		})
	}
	users.Wait()
	close(done)
	pruners.Wait()
}

func TestWhatACrashLeftIsRemoved(t *testing.T) {
	d, c := newDepot(t), downloads(t, true)
	all := fill(t, c, d, "kept")
	var gone []string
	for _, name := range []string{"npm/" + unfinished + "1", "downloads/" + unfinished + "2", "npm-asked/" + unwritten + "3"} {
		dir := filepath.Join(c.opts.Dir, name)
		if err := os.MkdirAll(filepath.Join(dir, "tree"), 0o755); err != nil {
			t.Fatal(err)
		}
		age(t, dir, time.Hour)
		gone = append(gone, dir)
	}
	for _, name := range []string{removing + "npm-cache", "downloads/" + removing + "4"} {
		dir := filepath.Join(c.opts.Dir, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		gone = append(gone, dir)
	}
	running := filepath.Join(c.opts.Dir, "downloads", unfinished+"5")
	if err := os.MkdirAll(running, 0o755); err != nil {
		t.Fatal(err)
	}
	pruned(t, c)
	for _, dir := range gone {
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
	if _, err := os.Stat(running); err != nil || there(c, all, "kept") == "" {
		t.Errorf("what goes on, or is whole, was removed: %v", err)
	}
}

// What npm keeps goes before any tree; with a tree go the notes of it.
func TestPackagesArePrunedWithTheirNotes(t *testing.T) {
	s := newShop(t)
	p := good(s)
	c := s.cache(t, t.TempDir())
	got, err := c.Install(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(c.opts.Dir, npmOwn)
	c.opts.MaxTotal, err = sizeOf(t.Context(), got.Dir)
	if err != nil {
		t.Fatal(err)
	}
	age(t, got.Dir, 2*time.Hour)
	age(t, own, time.Hour)
	pruned(t, c)
	if _, err := os.Stat(own); !os.IsNotExist(err) {
		t.Errorf("what npm keeps is still there: %v", err)
	}
	if _, ok := c.Find(p); !ok {
		t.Fatal("the package was removed, though there was room")
	}
	age(t, got.Dir, unusedFor+time.Hour)
	pruned(t, c)
	if left, _ := filepath.Glob(filepath.Join(c.opts.Dir, notes, "*")); len(left) != 0 {
		t.Errorf("notes are left: %v", left)
	}
	again, err := c.Install(t.Context(), p)
	if err != nil || again.Dir != got.Dir {
		t.Errorf("installed anew: %+v, %v", again, err)
	}
}

func TestEmptyCacheIsPrunedToo(t *testing.T) {
	c := New(Options{Dir: filepath.Join(t.TempDir(), "none")})
	pruned(t, c)
	if _, err := os.Stat(c.opts.Dir); !os.IsNotExist(err) {
		t.Error("it was made")
	}
}
