package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/runtime"
)

// BenchmarkWriteCall is a call with effects, recorded in a real Postgres, whose
// worker answers at once: without step 7 and with it, one beside the other, so
// that what else the machine does meets both. The ratio is what counts.
func BenchmarkWriteCall(b *testing.B) {
	db := postgrestest.New(b)
	tenant, user := postgrestest.Tenant(b, db, "acme")
	writer := audit.NewWriter(db, nil)
	defer writer.Close()
	var worlds [2]*world
	for i := range worlds {
		worlds[i] = newWorld(b, func(w *world, c *Config) {
			w.tenant = tenant
			w.hosted.Server.Tenant, w.hosted.Revision.Tenant, w.access.User.Tenant, w.access.User.ID = tenant.ID, tenant.ID, tenant.ID, user.ID
			c.Audit = writer
			if i == 1 {
				c.Once = Once{Store: db, Sealer: envelope(b)}
			}
		})
	}
	var id atomic.Int64
	call := func(w *world) {
		server := w.hosted.Server
		server.Active = w.hosted.Revision.ID
		_, err := w.gateway.Try(context.Background(), TryCall{Tenant: w.tenant, Server: server, Revision: w.hosted.Revision, Tool: "refund",
			Arguments: json.RawMessage(fmt.Sprintf(`{"id":%d}`, id.Add(1))), User: user.ID})
		if err != nil {
			b.Error(err)
		}
	}
	for _, callers := range []int{1, 16} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var took [2]time.Duration
			for b.Loop() {
				for i, w := range worlds {
					w.mu.Lock()
					w.dispatched = w.dispatched[:0]
					w.mu.Unlock()
					began := time.Now()
					var all sync.WaitGroup
					for range callers {
						all.Go(func() {
							for range 10 {
								call(w)
							}
						})
					}
					all.Wait()
					took[i] += time.Since(began)
				}
			}
			each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N*10) }
			b.ReportMetric(each(took[0]), "without-µs")
			b.ReportMetric(each(took[1]), "with-µs")
			b.ReportMetric(float64(took[1])/float64(took[0]), "ratio")
		})
	}
}

// BenchmarkReadPassesOnce is what the step costs a call that only reads.
func BenchmarkReadPassesOnce(b *testing.B) {
	w := newWorld(b, func(_ *world, c *Config) { c.Once = Once{Store: dies{}} }) // it is never asked
	tool := &w.hosted.Revision.Definition.Tools[0]
	c := newToolCall(&exchange{}, w.hosted.Revision, tool, &validator{}, json.RawMessage(`{"id":1}`))
	run := func(context.Context) error { return nil }
	b.ReportAllocs()
	for b.Loop() {
		if err := passOnce(w.gateway, c, run); err != nil {
			b.Fatal(err)
		}
	}
}

func passOnce(g *Gateway, c *call, run func(context.Context) error) error {
	_, err := g.once(context.Background(), c, func(ctx context.Context) (*runtime.Result, error) { return nil, run(ctx) })
	return err
}
