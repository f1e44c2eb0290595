package stdiotool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// The folders of what outlives processes:
//
//	<StateDir>/servers/<tenant>/<server>/<shared, or the person's id>/files
//
// with a lock beside each files, which the worker of its process holds, and a
// note in each server's folder, by which it is seen that the server is gone. A
// person who is gone has a file beside the lock, whose time says since when.
const (
	serversFolder = "servers"
	noteName      = "server.json"
	missingName   = "missing"
)

// stateNote says whose a folder is. Missing is since when the platform has not
// known the server.
type stateNote struct {
	Revision registry.RevisionID `json:"revision"`
	Missing  time.Time           `json:"missing,omitzero"`
}

// takeState gives the folder of a process, and keeps every other process off
// it until release is called. Where another worker has it, it is asked to let
// go: the calls have a new home, and this is it.
func takeState(ctx context.Context, r *recipe, whose string) (dir string, release func(), err error) {
	defer fault.Wrap(&err, "state of %s of %s", whose, r.server)
	server := filepath.Join(r.host.StateDir, serversFolder, string(r.tenant), string(r.server))
	home := homeOf(r, whose)
	if err := os.MkdirAll(home, 0o711); err != nil {
		return "", nil, err
	}
	if err := writeNote(server, stateNote{Revision: r.revision}); err != nil {
		return "", nil, err
	}
	lock, err := os.OpenFile(filepath.Join(home, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, err
	}
	if err := locked(ctx, lock, filepath.Join(home, wantedName)); err != nil {
		lock.Close()
		return "", nil, err
	}
	dir = filepath.Join(home, "files")
	if err := seed(dir, r.spec.Seed); err != nil {
		lock.Close()
		return "", nil, err
	}
	return dir, func() { lock.Close() }, nil
}

// wantedName is a file by which a worker asks for a state that another has.
const wantedName = "wanted"

func homeOf(r *recipe, whose string) string {
	return filepath.Join(r.host.StateDir, serversFolder, string(r.tenant), string(r.server), whose)
}

// locked waits for the lock, until ctx ends.
func locked(ctx context.Context, lock *os.File, wanted string) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			if err := os.Remove(wanted); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			return nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return err
		}
		// Again and again: whoever gets the lock before takes the file away.
		if err := os.WriteFile(wanted, nil, 0o600); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fault.New(fault.Busy, "The server's state is still in use by a process of another worker. Nothing was done; call again in a few seconds.").After(5 * time.Second)
		}
	}
}

// wanted reports whether another worker asks for the state of a process.
func wanted(r *recipe, whose string) bool {
	if !r.spec.State {
		return false
	}
	_, err := os.Stat(filepath.Join(homeOf(r, whose), wantedName))
	return err == nil
}

// seed makes the folder with its first files; the driver gives them to the
// sandbox's own user. One that is there is left as it
// is, whatever is missing in it by now.
func seed(dir string, files map[string]string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	tmp := dir + ".new"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, 0o700); err != nil {
		return err
	}
	for name, content := range files {
		file := filepath.Join(tmp, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return os.Rename(tmp, dir)
}

func writeNote(server string, n stateNote) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(server, ".note-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(b)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), filepath.Join(server, noteName))
}

const (
	sweepEvery = 30 * time.Minute
	// missingFor is how long the platform must not have known a server or person
	// before state is removed: one wrong answer removes nothing.
	missingFor = time.Hour
)

// Known is what the platform is asked about state.
type Known interface {
	runtime.Openings
	// People gives those of the people whom the tenant has.
	People(ctx context.Context, t tenants.ID, all []tenants.UserID) ([]tenants.UserID, error)
}

// SweepState removes the state of servers and people that are no more, until ctx
// ends. It asks the platform for what each folder was last used with, and removes
// what that has not known for an hour.
func SweepState(ctx context.Context, dir string, known Known, log *slog.Logger) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := sweepState(ctx, dir, known, log); err != nil && ctx.Err() == nil {
			log.Warn("state of removed servers could not be looked for", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func sweepState(ctx context.Context, dir string, known Known, log *slog.Logger) error {
	servers, err := filepath.Glob(filepath.Join(dir, serversFolder, "*", "*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, server := range servers {
		if ctx.Err() != nil {
			break
		}
		if err := sweepServer(ctx, server, known, log); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Base(server), err))
		}
	}
	return errors.Join(errs...)
}

func sweepServer(ctx context.Context, server string, known Known, log *slog.Logger) error {
	id, err := tenants.ParseServerID(filepath.Base(server))
	if err != nil {
		return nil // not one of ours
	}
	tenant, err := tenants.ParseID(filepath.Base(filepath.Dir(server)))
	if err != nil {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(server, noteName))
	if err != nil {
		return err
	}
	var n stateNote
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	_, err = known.Opening(ctx, tenant, id, n.Revision)
	switch missing := fault.HasCode(err, fault.NotFound); {
	case err != nil && !missing:
		return err
	case !missing && n.Missing.IsZero():
		return sweepPeople(ctx, tenant, server, known, log)
	case !missing:
		n.Missing = time.Time{}
		return writeNote(server, n)
	case n.Missing.IsZero():
		n.Missing = time.Now()
		return writeNote(server, n)
	case time.Since(n.Missing) < missingFor:
		return nil
	}
	log.Info("state removed, as its server is no more", "tenant", tenant, "server", id)
	return os.RemoveAll(server)
}

// sweepPeople does for the people of a server that is known what is done for
// servers.
func sweepPeople(ctx context.Context, tenant tenants.ID, server string, known Known, log *slog.Logger) error {
	entries, err := os.ReadDir(server)
	if err != nil {
		return err
	}
	var all []tenants.UserID
	for _, e := range entries {
		if id, err := tenants.ParseUserID(e.Name()); err == nil {
			all = append(all, id)
		}
	}
	if len(all) == 0 {
		return nil
	}
	there, err := known.People(ctx, tenant, all)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range all {
		home := filepath.Join(server, string(id))
		if slices.Contains(there, id) {
			if err := os.Remove(filepath.Join(home, missingName)); !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		removed, err := sweepPerson(home)
		if removed {
			log.Info("state removed, as its person is no more", "tenant", tenant, "server", filepath.Base(server), "person", id)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// sweepPerson removes the state of somebody who has been missing for long, and
// notes it of somebody who is missing since now. What a process uses stays.
func sweepPerson(home string) (removed bool, err error) {
	since := filepath.Join(home, missingName)
	st, err := os.Stat(since)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return false, os.WriteFile(since, nil, 0o600)
	case err != nil:
		return false, err
	case time.Since(st.ModTime()) < missingFor:
		return false, nil
	}
	lock, err := os.OpenFile(filepath.Join(home, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return false, err
	}
	defer lock.Close()
	switch err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return false, nil
	case err != nil:
		return false, err
	}
	err = os.RemoveAll(home)
	return err == nil, err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
