package mcpgateway

import (
	"context"
	"latchkey/internal/runtime"
)

func (g *Gateway) guarded(ctx context.Context, c *call, res *runtime.Result) (*runtime.Result, error) {
	return res, nil
}
