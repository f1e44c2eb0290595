package sandbox

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
)

// UIDs is a range of user ids of the host that no account has: one is given to
// each tenant and server, for good, so that no two of them ever share files.
type UIDs struct{ First, Count int }

// uids remembers which id has whom: a file each, named after the id. It needs
// no lock, and several workers may share the folder.
type uids struct {
	dir string
	UIDs
}

// of gives the id of a tenant's server, and makes it at first.
func (u *uids) of(tenant, server string) (int, error) {
	key := tenant + "/" + server
	h := fnv.New64a()
	h.Write([]byte(key))
	from := int(h.Sum64() % uint64(u.Count))
	for i := range u.Count {
		id := u.First + (from+i)%u.Count
		owner, err := u.claim(id, key)
		if err != nil {
			return 0, err
		}
		if owner == key {
			return id, nil
		}
	}
	return 0, fmt.Errorf("all %d user ids from %d on have an owner: widen the range (LATCHKEY_SANDBOX_UIDS)", u.Count, u.First)
}

// claim takes an id for key if nobody has it, and says who has it now.
func (u *uids) claim(id int, key string) (owner string, err error) {
	name := filepath.Join(u.dir, strconv.Itoa(id))
	for range 2 {
		b, err := os.ReadFile(name)
		if err == nil {
			return string(b), nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		// Written whole and then linked: nobody ever reads half of it.
		tmp, err := os.CreateTemp(u.dir, ".new-*")
		if err != nil {
			return "", err
		}
		_, err = tmp.WriteString(key)
		err = errors.Join(err, tmp.Sync(), tmp.Close())
		if err == nil {
			err = os.Link(tmp.Name(), name)
		}
		os.Remove(tmp.Name())
		if err == nil {
			return key, nil
		}
		if !errors.Is(err, os.ErrExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("%s comes and goes", name)
}
