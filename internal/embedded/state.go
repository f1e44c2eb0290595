package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// LayoutVersion is the version of what lies in a state folder. Raise it when
// an older folder can no longer be used as it is.
const LayoutVersion = "1"

const (
	versionFile = "VERSION"
	lockFile    = "lock"
)

// State is a state folder held by this process: what `platform dev` remembers
// between two runs. Close lets it go; so does the end of the process, however
// it comes.
type State struct {
	dir  string
	lock *os.File
}

// OpenState takes the state folder for this process, making it when missing.
// It fails when another process holds it, when another layout version wrote
// it, and when it is a folder of something else.
func OpenState(dir string) (*State, error) {
	dir, err := prepareState(dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	return &State{dir: dir, lock: lock}, nil
}

// Dir is the absolute path of the folder.
func (s *State) Dir() string { return s.dir }

// Path names something in the folder.
func (s *State) Path(elem ...string) string {
	return filepath.Join(append([]string{s.dir}, elem...)...)
}

// Close lets the folder go.
func (s *State) Close() error { return s.lock.Close() }

// prepareState makes dir a state folder of this layout or says why it is none.
func prepareState(dir string) (abs string, err error) {
	if dir == "" {
		return "", errors.New("no state folder given")
	}
	if abs, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(abs, 0o711); err != nil {
		return "", fmt.Errorf("make the state folder: %w", err)
	}
	switch version, err := readVersion(abs); {
	case err != nil:
		return "", err
	case version == LayoutVersion:
		return abs, nil
	case version != "":
		return "", fmt.Errorf("state folder %s was written by layout version %s, this program has %s. Run `make dev-reset` to start anew (its data is lost)", abs, version, LayoutVersion)
	}
	// Written beside and renamed: another starter sees all of it or nothing.
	tmp, err := os.CreateTemp(abs, versionFile+".*")
	if err != nil {
		return "", fmt.Errorf("write to the state folder: %w", err)
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.WriteString(LayoutVersion + "\n"); err != nil {
		return "", err
	}
	if err := tmp.Close(); err != nil {
		return "", err
	}
	return abs, os.Rename(tmp.Name(), filepath.Join(abs, versionFile))
}

// readVersion returns the layout version of a state folder, or "" for an empty
// folder. A folder that holds something and no version is somebody else's: we
// neither write into it nor, in Reset, remove it.
func readVersion(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, versionFile))
	if err == nil {
		return strings.TrimSpace(string(b)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read the state folder: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("read the state folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() == versionFile { // another starter has just renamed it here
			return readVersion(dir)
		}
		if e.Name() != lockFile && !strings.HasPrefix(e.Name(), versionFile+".") {
			return "", fmt.Errorf("%s is no state folder: it holds %s but no %s file. Name an empty or a new folder", dir, e.Name(), versionFile)
		}
	}
	return "", nil
}

// lockFolder takes the lock of a folder without waiting. The kernel lets it go
// with the process, so a lock is never stale; the id in it is for the message.
func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		return nil, busy(dir, f)
	}
	if err := errors.Join(f.Truncate(0), writeAt0(f, strconv.Itoa(os.Getpid())+"\n")); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return f, nil
}

func writeAt0(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

func busy(dir string, f *os.File) error {
	b := make([]byte, 20)
	n, _ := f.ReadAt(b, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil { // it has the lock but not yet written its id
		return fmt.Errorf("%s is in use by another process. Stop that one first", dir)
	}
	who := "another process"
	if name := processName(pid); name != "" {
		who = name
	}
	return fmt.Errorf("%s is in use by %s (pid %d). Stop that one first: Ctrl-C where it runs, or `kill %d`", dir, who, pid, pid)
}

// waitLock takes the lock of a folder, waiting for its turn. waiting is called
// once if it has to.
func waitLock(ctx context.Context, dir string, waiting func()) (*os.File, error) {
	for first := true; ; first = false {
		f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		if first && waiting != nil {
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the lock of %s: %w", dir, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Reset removes everything a state folder holds, and what Postgres had to keep
// elsewhere, after stopping servers that a killed run left behind. It refuses
// a folder that is in use and one that is no state folder. A folder of another
// layout version is fine: this is the way out of it.
func Reset(stateDir string) error {
	dir, err := filepath.Abs(stateDir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if _, err := readVersion(dir); err != nil {
		return err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := errors.Join(resetPostgres(dir), resetVault(dir)); err != nil {
		return err
	}

	// The version goes last, so that an interrupted reset can be run again.
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return keepRank(a) - keepRank(b) })
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("clear the state folder: %w", err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.ENOTEMPTY) {
		return fmt.Errorf("remove the state folder: %w", err)
	}
	return nil
}

func keepRank(e os.DirEntry) int {
	switch e.Name() {
	case lockFile:
		return 1
	case versionFile:
		return 2
	}
	return 0
}
