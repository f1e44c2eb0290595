package packages

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// unpacking puts an archive's files into a folder, and nothing anywhere else.
type unpacking struct {
	tree  string
	root  *os.Root
	bytes int64 // that are left
	files int   // likewise
}

var errTooLarge = errors.New("what is in it is more than may be hosted")

func (u *unpacking) tarGz(f *os.File) error {
	gz, err := gzip.NewReader(f)
	if err != nil {
		return errors.New("it cannot be unpacked")
	}
	defer gz.Close()
	if err := u.open(); err != nil {
		return err
	}
	defer u.root.Close()
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("it is no .tar.gz that can be unpacked: %.100s", err)
		}
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
		case tar.TypeDir:
			err = u.dir(h.Name)
		case tar.TypeReg:
			err = u.file(h.Name, h.FileInfo().Mode(), r)
		default:
			err = fmt.Errorf("%.100q in it is neither a file nor a folder", h.Name)
		}
		if err != nil {
			return err
		}
	}
}

func (u *unpacking) zip(f *os.File) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	r, err := zip.NewReader(f, st.Size())
	if err != nil {
		return errors.New("it is no .zip that can be unpacked")
	}
	if err := u.open(); err != nil {
		return err
	}
	defer u.root.Close()
	for _, e := range r.File {
		switch mode := e.Mode(); {
		case mode.IsDir():
			err = u.dir(e.Name)
		case !mode.IsRegular():
			err = fmt.Errorf("%.100q in it is neither a file nor a folder", e.Name)
		default:
			err = u.zipped(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacking) zipped(e *zip.File) error {
	r, err := e.Open()
	if err != nil {
		return fmt.Errorf("%.100q in it cannot be unpacked", e.Name)
	}
	defer r.Close()
	return u.file(e.Name, e.Mode(), r)
}

func (u *unpacking) open() (err error) {
	u.root, err = os.OpenRoot(u.tree)
	return err
}

// inside is a name below the tree. What would leave it is no accident.
func (u *unpacking) inside(name string) (string, error) {
	clean := path.Clean(strings.TrimPrefix(name, "./"))
	if u.files--; u.files < 0 {
		return "", errTooLarge
	}
	if !filepath.IsLocal(filepath.FromSlash(clean)) || strings.ContainsAny(clean, "\\\x00") || len(clean) > 1000 {
		return "", fmt.Errorf("%.100q in it is no path below it", name)
	}
	return filepath.FromSlash(clean), nil
}

func (u *unpacking) dir(name string) error {
	at, err := u.inside(name)
	if err != nil || at == "." {
		return err
	}
	return u.root.MkdirAll(at, 0o755)
}

// file writes one that is not there yet.
func (u *unpacking) file(name string, mode fs.FileMode, from io.Reader) error {
	at, err := u.inside(name)
	if err != nil {
		return err
	}
	if err := u.root.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	to, err := u.root.OpenFile(at, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644|mode.Perm()&0o111)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%.100q is in it twice", name)
	}
	if err != nil {
		return err
	}
	n, err := io.Copy(to, io.LimitReader(from, u.bytes+1))
	u.bytes -= n
	switch full := to.Close(); {
	case isNoRoom(errors.Join(err, full)):
		return errors.Join(err, full)
	case err != nil || full != nil:
		return fmt.Errorf("%.100q in it cannot be unpacked", name)
	case u.bytes < 0:
		return errTooLarge
	}
	return nil
}

// isNoRoom tells a full disk from an archive that is broken.
func isNoRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EROFS)
}
