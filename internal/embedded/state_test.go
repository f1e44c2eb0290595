package embedded

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestStateIsHeldByOneAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = OpenState(dir)
	wantError(t, err, dir, "is in use by")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = OpenState(dir); err != nil {
		t.Fatalf("after Close: %v", err)
	}
	s.Close()
}

func TestStateOfAnotherLayoutVersion(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, "0\n", 0o644, dir, versionFile)
	writeFile(t, "old", 0o644, dir, "postgres", "old")
	_, err := OpenState(dir)
	wantError(t, err, dir, "layout version 0", "make dev-reset")
	_, err = StartPostgres(t.Context(), postgresOptions(dir))
	wantError(t, err, "make dev-reset")

	if err := Reset(dir); err != nil { // the way out that the message names
		t.Fatal(err)
	}
	s, err := OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

// A mistyped folder must lose nothing.
func TestFolderOfSomethingElseIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	letter := writeFile(t, "dear", 0o644, dir, "letter.txt")
	_, err := OpenState(dir)
	wantError(t, err, "no state folder", "letter.txt")
	wantError(t, Reset(dir), "no state folder")
	if !exists(letter) || exists(filepath.Join(dir, versionFile)) {
		t.Error("the folder was changed")
	}
}

func TestResetRemovesTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := Reset(dir); err != nil {
		t.Errorf("where there is none: %v", err)
	}
	s, err := OpenState(dir)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, "{}", 0o600, s.Path("ready.json"))
	s.Close()
	if err := Reset(dir); err != nil {
		t.Fatal(err)
	}
	if exists(dir) {
		t.Error("the folder is still there")
	}
}

func TestCacheDir(t *testing.T) {
	want := filepath.Join(t.TempDir(), "cache")
	if got, err := CacheDir(want); err != nil || got != want || !exists(want) {
		t.Errorf("CacheDir(%q) = %q, %v", want, got, err)
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	base, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := CacheDir(""); err != nil || got != filepath.Join(base, "latchkey") {
		t.Errorf("CacheDir() = %q, %v", got, err)
	}
}

func TestStateFolderSaysWhoHasIt(t *testing.T) {
	dir := t.TempDir()
	if l := StateFolder(filepath.Join(dir, "new")); l.Fix != "" || !strings.Contains(l.Found, "none yet") {
		t.Errorf("%+v", l)
	}
	s, err := OpenState(filepath.Join(dir, "held"))
	if err != nil {
		t.Fatal(err)
	}
	if l := StateFolder(s.Dir()); l.Fix != "" || !strings.HasPrefix(l.Found, "in use by") || strings.Contains(l.Found, "kill") {
		t.Errorf("%+v", l)
	}
	s.Close()
	if l := StateFolder(s.Dir()); l.Found != "there, and not in use" {
		t.Errorf("%+v", l)
	}
	if l := StateFolder("/etc"); l.Fix == "" {
		t.Errorf("%+v", l)
	}
}
