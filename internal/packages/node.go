package packages

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/fault"
)

// minNode is the oldest Node that packages are run on.
const minNode = 20

// Node is the runtime's binary, with no link in its path.
func (c *Cache) Node() (string, error) { return c.node() }

func (c *Cache) findNode() (string, error) {
	lacking := fault.New(fault.NoWorker, "This worker has no Node %d or newer, so that it cannot run packages. Ask the operator to install one on workers of this pool, or to set LATCHKEY_NODE.", minNode)
	node := c.opts.Node
	if node == "" {
		found, err := exec.LookPath("node")
		if err != nil {
			return "", lacking.Because(err)
		}
		node = found
	}
	node, err := filepath.EvalSymlinks(node)
	if err != nil {
		return "", lacking.Because(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, node, "--version").Output()
	if err != nil {
		return "", lacking.Because(err)
	}
	major, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(string(out)), "v"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < minNode {
		return "", lacking.Because(fmt.Errorf("%s is %.40q", node, out))
	}
	return node, nil
}
