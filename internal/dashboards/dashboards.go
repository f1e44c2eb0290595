// Package dashboards holds what an operator loads into Grafana and Prometheus:
// a dashboard and alert rules over the metrics of an edge. It owns these files
// and no metric; a test in cmd/platform holds them to what /metrics really has.
package dashboards

import (
	"embed"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed files
var files embed.FS

// Files lists names and contents.
func Files() (map[string][]byte, error) {
	out := map[string][]byte{}
	entries, err := fs.ReadDir(files, "files")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if out[e.Name()], err = files.ReadFile("files/" + e.Name()); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Export writes them into a folder, which is made when it is missing, and
// returns their paths in order.
func Export(dir string) (paths []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(files, "files")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		b, err := files.ReadFile("files/" + e.Name())
		if err != nil {
			return paths, err
		}
		path := filepath.Join(dir, e.Name())
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return paths, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}
