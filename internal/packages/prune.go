package packages

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// Whoever uses a tree holds a shared lock on its folder, and whoever removes it
// an exclusive one, so that workers of a machine know of each other and a killed
// one holds nothing. When a tree was last used is its folder's time.

const (
	pruneEvery = 10 * time.Minute
	unusedFor  = 30 * 24 * time.Hour
	// spared is how long something is kept that was just used or installed,
	// however large the cache is: its process may be about to start.
	spared = 10 * time.Minute

	removing  = ".removing-" // begins the names of trees on their way out
	pruneLock = "pruning"    // a file: one worker of the machine prunes
)

// ErrGone is about a tree that is not in the cache, or no longer.
var ErrGone = errors.New("it is not in the cache")

// Hold keeps a tree from being removed, until release is called.
func (c *Cache) Hold(got Installed) (release func(), err error) { return hold(got.Dir) }

func hold(dir string) (release func(), err error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, err
	}
	// It waits while somebody looks whether to remove it, which is no time.
	if err := flock(f, syscall.LOCK_SH); err != nil {
		f.Close()
		return nil, err
	}
	if !is(f, dir) {
		f.Close()
		return nil, ErrGone
	}
	touch(dir)
	return func() {
		touch(dir)
		f.Close()
	}, nil
}

// holdNPM is hold for what the client keeps for itself, which it can be without.
func (c *Cache) holdNPM() (dir string, release func(), err error) {
	dir = filepath.Join(c.opts.Dir, npmOwn)
	for {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", nil, err
		}
		if release, err = hold(dir); !errors.Is(err, ErrGone) {
			return dir, release, err
		}
	}
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}

// is reports whether an open folder is still the one of that name.
func is(f *os.File, dir string) bool {
	have, err := f.Stat()
	if err != nil {
		return false
	}
	want, err := os.Lstat(dir)
	return err == nil && os.SameFile(have, want)
}

// touch has a tree count as used now. Where that cannot be written it counts from
// before, and what that costs is another installation.
func touch(dir string) {
	now := time.Now()
	_ = os.Chtimes(dir, now, now)
}

// Prune removes what is no longer needed, now and every ten minutes, until ctx
// ends.
func (c *Cache) Prune(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		if err := c.prune(ctx); err != nil && ctx.Err() == nil {
			c.opts.Log.Warn("the cache of packages could not be pruned", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// prune is one round. Where another worker is at it there is nothing to do.
func (c *Cache) prune(ctx context.Context) error {
	lock, err := os.OpenFile(filepath.Join(c.opts.Dir, pruneLock), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was ever installed
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := flock(lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if err == syscall.EWOULDBLOCK {
			return nil
		}
		return err
	}
	for _, base := range []string{npmTrees, downloadTrees, notes} {
		c.clearAway(filepath.Join(c.opts.Dir, base))
	}
	c.finishRemoving()
	all, err := c.entries(ctx)
	if err != nil {
		return err
	}
	return errors.Join(c.makeRoom(ctx, all), c.forgetNotes())
}

// finishRemoving ends what a killed worker began: nobody else is at it.
func (c *Cache) finishRemoving() {
	for _, base := range []string{"", npmTrees, downloadTrees} {
		left, _ := filepath.Glob(filepath.Join(c.opts.Dir, base, removing+"*"))
		for _, dir := range left {
			if err := os.RemoveAll(dir); err != nil {
				c.opts.Log.Warn("what was removed from the cache is still there", "err", err)
			}
		}
	}
}

// kept is something that can be removed.
type kept struct {
	dir  string
	used time.Time
	size int64 // on the disk
}

// entries lists what the npm client keeps for itself, which is the first to go
// where room is needed, and the trees, the longest unused first.
func (c *Cache) entries(ctx context.Context) ([]kept, error) {
	var trees []kept
	for _, base := range []string{npmTrees, downloadTrees} {
		dirs, _ := filepath.Glob(filepath.Join(c.opts.Dir, base, "[^.]*"))
		for _, dir := range dirs {
			k, err := look(dir, func() (int64, error) { return c.sizeOfTree(ctx, dir) })
			if err != nil {
				return nil, err
			}
			trees = append(trees, k...)
		}
	}
	slices.SortFunc(trees, func(a, b kept) int { return a.used.Compare(b.used) })
	dir := filepath.Join(c.opts.Dir, npmOwn)
	own, err := look(dir, func() (int64, error) { return sizeOf(ctx, dir) })
	return append(own, trees...), err
}

// look gives what there is of a name: one, or none.
func look(dir string, size func() (int64, error)) ([]kept, error) {
	st, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := size()
	return []kept{{dir, st.ModTime(), n}}, err
}

// sizeOfTree measures each tree once: none changes.
func (c *Cache) sizeOfTree(ctx context.Context, dir string) (n int64, err error) {
	if n, ok := c.sizes[dir]; ok {
		return n, nil
	}
	if n, err = sizeOf(ctx, dir); err == nil {
		c.sizes[dir] = n
	}
	return n, err
}

// sizeOf is what a folder takes up on the disk.
func sizeOf(ctx context.Context, dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				n += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
		}
		if errors.Is(err, fs.ErrNotExist) { // npm works beside us
			err = nil
		}
		return errors.Join(err, ctx.Err())
	})
	return n, err
}

// makeRoom removes what was not used for long, and more while that is not enough.
func (c *Cache) makeRoom(ctx context.Context, all []kept) error {
	total := int64(0)
	for _, k := range all {
		total += k.size
	}
	var errs []error
	take := func(k kept, why string) (gone bool) {
		gone, err := remove(k)
		if err != nil {
			errs = append(errs, err)
		}
		if gone {
			total -= k.size
			delete(c.sizes, k.dir)
			c.opts.Log.Info("removed from the cache", "what", filepath.Base(k.dir), "why", why, "last_used", k.used.UTC().Format(time.RFC3339), "bytes", k.size)
		}
		return gone
	}
	all = slices.DeleteFunc(all, func(k kept) bool {
		return ctx.Err() == nil && time.Since(k.used) > unusedFor && take(k, "unused")
	})
	for _, k := range all {
		if ctx.Err() == nil && total > c.opts.MaxTotal && time.Since(k.used) > spared {
			take(k, "room")
		}
	}
	if total > c.opts.MaxTotal {
		c.opts.Log.Warn("the cache of packages is larger than it should be, and what is left is in use. Give it more room (LATCHKEY_CACHE_SIZE), or the worker fewer servers.", "bytes", total, "of", c.opts.MaxTotal)
	}
	return errors.Join(errs...)
}

// remove takes something out of the cache, unless it is in use or was used since
// it was looked at.
func remove(k kept) (gone bool, err error) {
	f, err := os.Open(k.dir)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err == syscall.EWOULDBLOCK {
		touch(k.dir) // its process may be an old one, whose worker is killed
		return false, nil
	} else if err != nil {
		return false, err
	}
	if st, err := f.Stat(); err != nil || !st.ModTime().Equal(k.used) {
		return false, err
	}
	out := filepath.Join(filepath.Dir(k.dir), removing+filepath.Base(k.dir))
	if err := os.Rename(k.dir, out); err != nil {
		return false, err
	}
	f.Close() // who waits for it learns that it is gone
	return true, os.RemoveAll(out)
}

// forgetNotes removes notes of trees that are no more. One that is written just
// now costs no more than asking npm again.
func (c *Cache) forgetNotes() error {
	all, _ := filepath.Glob(filepath.Join(c.opts.Dir, notes, "*.json"))
	var errs []error
	for _, path := range all {
		var n note
		b, err := os.ReadFile(path)
		if err != nil || json.Unmarshal(b, &n) != nil || !filepath.IsLocal(n.Tree) {
			continue
		}
		if _, err := os.Lstat(filepath.Join(c.opts.Dir, npmTrees, n.Tree)); errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}
