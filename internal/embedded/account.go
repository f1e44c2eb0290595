package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is whom Postgres runs as when this process is root, which Postgres
// refuses to be.
type account struct {
	name     string
	uid, gid int
}

func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
}

func (a *account) own(file string) error {
	if a == nil {
		return nil
	}
	return os.Lchown(file, a.uid, a.gid)
}

// postgresAccount returns the account for a data folder: nil when we are not
// root; who made the folder, when it exists; else an account made for the like.
func postgresAccount(dataDir string) (*account, error) {
	self := os.Getuid()
	owner := -1
	var group int
	if st, err := os.Lstat(dataDir); err == nil {
		owner, group = ownerOf(st)
	}
	if self != 0 {
		if owner != -1 && owner != self {
			return nil, fmt.Errorf("%s belongs to another account (uid %d), probably because it was first started as root. Start as root again, or run `sudo make dev-reset` (its data is lost)", dataDir, owner)
		}
		return nil, nil
	}
	if owner > 0 {
		return &account{name: "uid " + strconv.Itoa(owner), uid: owner, gid: group}, nil
	}
	for _, name := range []string{"postgres", "nobody"} { // initdb needs one with a name
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err1 == nil && err2 == nil && uid > 0 {
			return &account{name: name, uid: uid, gid: gid}, nil
		}
	}
	return nil, errors.New("this is root, Postgres refuses to run as root, and there is no account named postgres or nobody to run it as. Run `useradd --system postgres`, or start as an ordinary user")
}

func ownerOf(st fs.FileInfo) (uid, gid int) {
	sys := st.Sys().(*syscall.Stat_t)
	return int(sys.Uid), int(sys.Gid)
}

// unreachableAt returns the first folder on the way to path that the account
// may not pass, or "". What does not exist yet is ours to make passable.
func (a *account) unreachableAt(path string) string {
	if a == nil {
		return ""
	}
	for { // links count as where they lead
		real, err := filepath.EvalSymlinks(path)
		if err == nil {
			path = real
			break
		}
		if path == filepath.Dir(path) {
			break
		}
		path = filepath.Dir(path)
	}
	blocked := ""
	for dir := path; ; dir = filepath.Dir(dir) {
		if st, err := os.Stat(dir); err == nil && st.IsDir() && !a.mayPass(st) {
			blocked = dir // go on: the topmost one is the one to name
		}
		if dir == filepath.Dir(dir) {
			return blocked
		}
	}
}

func (a *account) mayPass(st fs.FileInfo) bool {
	bit := fs.FileMode(0o001)
	switch uid, gid := ownerOf(st); {
	case uid == a.uid:
		bit = 0o100
	case gid == a.gid:
		bit = 0o010
	}
	return st.Mode().Perm()&bit != 0
}

// publicBase is where root keeps what an unprivileged account must reach and
// cannot reach in root's own folders. It outlives a reboot, unlike /tmp.
const publicBase = "/var/tmp"

// elsewhere makes, or finds again, the folder under publicBase that stands in
// for path. Anybody may write to publicBase, so a folder that is not ours is
// refused: somebody may have put it there before us.
func elsewhere(path string) (string, error) {
	dir := filepath.Join(publicBase, "latchkey-"+shortHash(path))
	if err := os.Mkdir(dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return dir, trusted(dir)
}

// trusted returns an error unless dir is a true folder that only we can have made.
func trusted(dir string) error {
	st, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if uid, _ := ownerOf(st); !st.IsDir() || uid != os.Getuid() || st.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not a folder of this account's own, so it is not used. Run `rm -rf %s`, then try again", dir, dir)
	}
	return os.Chmod(dir, 0o711) // the umask may have taken too much
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:6])
}
