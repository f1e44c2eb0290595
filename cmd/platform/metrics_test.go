package main

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"latchkey/internal/api"
	"latchkey/internal/audit"
	"latchkey/internal/dashboards"
	"latchkey/internal/events"
	"latchkey/internal/health"
	"latchkey/internal/limits"
	"latchkey/internal/mcpgateway"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/switches"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
)

var metricName = regexp.MustCompile(`\b(?:latchkey|process|go)_[a-z0-9_]+`)

// Every metric that a dashboard or a rule names is on a live /metrics.
func TestDashboardsNameMetricsThatAreThere(t *testing.T) {
	server, conn, sys, err := embeddedNATS(natsrt.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); sys.Close(); server.Close() })
	edge, err := natsrt.NewEdge(natsrt.EdgeConfig{Conn: conn, Sys: sys, Log: slog.New(slog.DiscardHandler),
		Opening: func(context.Context, tenants.ID, registry.ServerID, registry.RevisionID) (runtime.Opening, error) {
			return runtime.Opening{}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { edge.Close() })
	pl := &platform{edge: edge, limits: limits.New(limits.Config{Store: limits.NewMemory()}), tails: audit.NewTails(nil, nil)}
	pl.usageUpto.Store(time.Now().Unix())
	pl.tasksOpen.Store(&map[tasks.State]int{tasks.Queued: 1})
	observeTask(slog.New(slog.DiscardHandler))(tasks.Task{StartedAt: time.Now()}, tasks.End{State: tasks.Completed})
	pl.toggles.on.Store(&map[switches.Kind]int{switches.Tool: 1})
	pl.healthCount.Store(&map[health.State]int{health.Unhealthy: 1})
	probes.WithLabelValues("sql", "ok").Inc()
	g := gauges{pl}
	prometheus.MustRegister(g)
	t.Cleanup(func() { prometheus.Unregister(g) })
	observeCall(slog.New(slog.DiscardHandler))(mcpgateway.Observation{Event: audit.Event{Method: "tools/call", State: audit.Done}})
	observeCall(slog.New(slog.DiscardHandler))(mcpgateway.Observation{Event: audit.Event{Method: "tools/call", State: audit.Refused, Notes: audit.Notes{audit.NoteSwitch: "tool:orders/refund"}}})
	countEvent(events.Event{Kind: events.SwitchedOff, Severity: events.Critical})
	observeCall(slog.New(slog.DiscardHandler))(mcpgateway.Observation{Event: audit.Event{Method: "tools/call", State: audit.Refused, Code: "limit_reached", Notes: audit.Notes{audit.NoteLimit: "user"}}})
	observeAPI(api.Observation{Operation: "getMe", Status: 200, Took: time.Millisecond})
	observeAPI(api.Observation{Operation: "tailAudit", Status: 200, Took: time.Hour})

	rec := httptest.NewRecorder()
	metricsServer().Handler.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
	body, err := io.ReadAll(rec.Body)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for line := range strings.Lines(string(body)) {
		if !strings.HasPrefix(line, "#") {
			there[metricName.FindString(line)] = true
		}
	}
	for _, want := range []string{`latchkey_switches_on{kind="tool"} 1`, `latchkey_switches_on{kind="tenant"} 0`, `latchkey_switch_refusals_total{kind="tool"} 1`, `latchkey_events_total{kind="switched_off",severity="critical"} 1`} {
		if !strings.Contains(string(body), want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(string(body), "tailAudit") {
		t.Error("a stream's time counts as an answer's")
	}
	files, err := dashboards.Files()
	if err != nil || len(files) != 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	named := map[string]bool{}
	for file, text := range files {
		for _, name := range metricName.FindAllString(string(text), -1) {
			if named[name] = true; !there[name] {
				t.Errorf("%s names %s, which is not there", file, name)
			}
		}
	}
	for name := range there {
		if strings.HasPrefix(name, "latchkey_") && !named[name] && !strings.HasSuffix(name, "_sum") && !strings.Contains(name, "rollup_duration") {
			t.Errorf("%s is on no dashboard", name)
		}
	}
}
