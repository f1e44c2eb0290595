package packages

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"latchkey/internal/fault"
)

// lock is what is read of a lock file (lockfileVersion 3).
type lock struct {
	Version  int                    `json:"lockfileVersion"`
	Packages map[string]lockPackage `json:"packages"`
}

type lockPackage struct {
	Name         string            `json:"name"` // where it is another than its folder's
	Version      string            `json:"version"`
	Integrity    string            `json:"integrity"`
	Resolved     string            `json:"resolved"`
	Link         bool              `json:"link"`
	InBundle     bool              `json:"inBundle"`
	Dependencies map[string]string `json:"dependencies"`
}

// maxDependencies bounds what one package may bring along.
const maxDependencies = 2000

// folderPattern is where a dependency may be put.
var folderPattern = regexp.MustCompile(`^node_modules/(@[^/@]+/)?[^/@]+(/node_modules/(@[^/@]+/)?[^/@]+)*$`)

// checkLock holds a lock to the package that it was made for: everything by
// hash, all of it from the registry, nothing outside of node_modules.
func checkLock(p Package, raw []byte) error {
	var l lock
	if err := json.Unmarshal(raw, &l); err != nil || l.Version != 3 || len(l.Packages) > maxDependencies {
		return broken(p, "its lock file cannot be used").Because(err)
	}
	for where, e := range l.Packages {
		if where == "" {
			continue
		}
		switch {
		case !folderPattern.MatchString(where) || slices.Contains(strings.Split(where, "/"), ".."):
			return broken(p, fmt.Sprintf("its lock file names the folder %.80q", where))
		case e.Link || e.Resolved != "":
			return broken(p, fmt.Sprintf("%.100q does not come from the registry", strings.TrimPrefix(where, "node_modules/")))
		case !e.InBundle && !ValidIntegrity(e.Integrity):
			return broken(p, fmt.Sprintf("%.100q has no hash that can be relied on", strings.TrimPrefix(where, "node_modules/")))
		}
	}
	own, root := l.Packages["node_modules/"+p.Name], l.Packages[""]
	if own.Version != p.Version || own.Name != "" || len(root.Dependencies) != 1 || root.Dependencies[p.Name] != p.Version {
		return broken(p, "its lock file is that of another package")
	}
	if p.Integrity != "" && own.Integrity != p.Integrity {
		return broken(p, "what the registry has is not what was pinned: the integrity differs").
			Because(fmt.Errorf("%s, not %s", own.Integrity, p.Integrity))
	}
	return nil
}

// LockOf reports whether a lock is one of the package, as far as can be told
// without installing it.
func LockOf(p Package, raw json.RawMessage) bool {
	return len(raw) > 0 && len(raw) <= MaxLock && checkLock(p, raw) == nil
}

// tooLarge is the end of an installation that grows beyond its bounds.
type tooLarge struct{ what string }

func (t *tooLarge) Error() string { return "with all that it needs it has more than " + t.what }

func (c *Cache) measure(dir string) error {
	var bytes int64
	files := 0
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // npm moves things about
		}
		if info, err := d.Info(); err == nil {
			bytes += info.Size()
		}
		if files++; files > c.opts.MaxFiles {
			return &tooLarge{fmt.Sprintf("%d files", c.opts.MaxFiles)}
		}
		if bytes > c.opts.MaxBytes {
			return &tooLarge{fmt.Sprintf("%d MB", c.opts.MaxBytes>>20)}
		}
		return nil
	})
	return err
}

// checkTree takes only plain files and folders, and makes them readable to
// whoever the sandbox runs as.
func (c *Cache) checkTree(dir string) error {
	if err := c.measure(dir); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			return os.Chmod(path, 0o755)
		case !d.Type().IsRegular():
			return errors.New("it holds something that is neither a file nor a folder")
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return os.Chmod(path, 0o644|info.Mode().Perm()&0o111)
	})
}

// entry finds the file that the package's program is, below the tree.
func entry(tree string, p Package) (string, error) {
	home := path.Join("node_modules", p.Name)
	raw, err := readBounded(filepath.Join(tree, filepath.FromSlash(home), "package.json"), 1<<20)
	if err != nil {
		return "", broken(p, "it has no package.json").Because(err)
	}
	var manifest struct {
		Bin json.RawMessage `json:"bin"`
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return "", broken(p, "its package.json cannot be read").Because(err)
	}
	file, err := program(p, manifest.Bin)
	if err != nil {
		return "", err
	}
	file = filepath.ToSlash(file)
	if !filepath.IsLocal(filepath.FromSlash(file)) {
		return "", broken(p, "its program is outside of it")
	}
	full := path.Join(home, file)
	if st, err := os.Lstat(filepath.Join(tree, filepath.FromSlash(full))); err != nil || !st.Mode().IsRegular() {
		return "", broken(p, fmt.Sprintf("its program %.80q is not in it", file)).Because(err)
	}
	return full, runsOnNode(p, filepath.Join(tree, filepath.FromSlash(full)))
}

// program chooses among those of a manifest: the named one, the one called like
// the package, or the only one.
func program(p Package, raw json.RawMessage) (string, error) {
	short := p.Name[strings.LastIndexByte(p.Name, '/')+1:]
	var one string
	if json.Unmarshal(raw, &one) == nil && one != "" {
		if p.Bin != "" && p.Bin != short {
			return "", broken(p, fmt.Sprintf("its only program is %.60q, not %.60q", short, p.Bin))
		}
		return one, nil
	}
	var all map[string]string
	_ = json.Unmarshal(raw, &all)
	want := p.Bin
	if want == "" {
		want = short
	}
	if file, ok := all[want]; ok {
		return file, nil
	}
	if p.Bin == "" && len(all) == 1 {
		for _, file := range all {
			return file, nil
		}
	}
	if len(all) == 0 {
		return "", broken(p, "it has no program to run")
	}
	var names []string
	for name := range all {
		names = append(names, fmt.Sprintf("%.60s", name))
	}
	slices.Sort(names)
	return "", broken(p, fmt.Sprintf("it has several programs; name one as bin: %s", strings.Join(names[:min(len(names), 10)], ", ")))
}

// forNode tells a program for Node by its name.
func forNode(file string) bool {
	switch path.Ext(file) {
	case ".js", ".mjs", ".cjs":
		return true
	}
	return false
}

// runsOnNode refuses what Node cannot run.
func runsOnNode(p Package, file string) error {
	if forNode(file) {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return fault.Of(err)
	}
	defer f.Close()
	head := make([]byte, 64)
	n, _ := f.Read(head)
	first, _, _ := strings.Cut(string(head[:n]), "\n")
	if strings.HasPrefix(first, "#!") && strings.Contains(first, "node") {
		return nil
	}
	return broken(p, "its program is not one for Node; declare the program itself as a download")
}
