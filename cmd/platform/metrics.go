package main

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"latchkey/internal/api"
	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/limits"
	"latchkey/internal/mcpgateway"
	"latchkey/internal/switches"
	"latchkey/internal/tasks"
)

// The names of all metrics are here, and in what internal/dashboards exports.
// Tenant, user and session are no labels: there are too many of them.
var (
	buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

	callSeconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "latchkey_call_duration_seconds", Buckets: buckets,
		Help: "Time from a call's typed message to its recorded outcome, in seconds.",
	}, []string{"method", "outcome", "category"})
	apiSeconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "latchkey_api_request_duration_seconds", Buckets: buckets,
		Help: "Time that the platform API took to answer, by operation and HTTP status; streams not included.",
	}, []string{"operation", "status"})
	rollUpSeconds = promauto.NewHistogram(prometheus.HistogramOpts{
		Name: "latchkey_usage_rollup_duration_seconds", Buckets: buckets,
		Help: "Time that adding calls up took, once a minute.",
	})
	rollUpFailures = promauto.NewCounter(prometheus.CounterOpts{
		Name: "latchkey_usage_rollup_failures_total",
		Help: "How often calls could not be added up.",
	})
	eventsRaised = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "latchkey_events_total",
		Help: "Events that somebody should look at, by kind and severity.",
	}, []string{"kind", "severity"})
	eventsDropped = promauto.NewCounter(prometheus.CounterOpts{
		Name: "latchkey_events_dropped_total",
		Help: "Events that were not kept because too many were raised at once, or the store did not take them.",
	})
	switchRefusals = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "latchkey_switch_refusals_total",
		Help: "Calls that a kill switch refused or stopped, by what it switches off.",
	}, []string{"kind"})
	switchesOn   = prometheus.NewDesc("latchkey_switches_on", "Kill switches of all tenants that are on, by what they switch off.", []string{"kind"}, nil)
	limitedCalls = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "latchkey_limited_total",
		Help: "Calls that were refused by a limit, by its dimension; repeats are identical calls in a loop.",
	}, []string{"dimension"})
	probes = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "latchkey_upstream_probes_total",
		Help: "Probes of servers, by kind and code: ok, or that of the failure. Only the edge that looks after upstreams has them.",
	}, []string{"kind", "code"})
	serverStates = prometheus.NewDesc("latchkey_servers", "Servers of all tenants whose upstream is looked at, by how they are.", []string{"state"}, nil)
	taskEnds     = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "latchkey_tasks_ended_total",
		Help: "Tasks that ended, by state and whether their outcome is known.",
	}, []string{"state", "known"})
	taskWait = promauto.NewHistogram(prometheus.HistogramOpts{
		Name: "latchkey_task_wait_seconds", Buckets: []float64{.01, .05, .1, .5, 1, 5, 15, 60, 300, 900, 3600},
		Help: "Time that tasks which ran waited for their first run.",
	})
	tasksOpen    = prometheus.NewDesc("latchkey_tasks", "Tasks of all tenants that have not ended, by state.", []string{"state"}, nil)
	limitsStore  = prometheus.NewDesc("latchkey_limits_store", "1 for where this edge counts calls: memory, valkey, or degraded, which is by itself because Valkey is away.", []string{"state"}, nil)
	tailsOpen    = prometheus.NewDesc("latchkey_audit_tails", "Readers that follow records on this edge.", nil, nil)
	usageLag     = prometheus.NewDesc("latchkey_usage_lag_seconds", "Age of the newest calls that are not added up yet; up to 17 minutes is normal.", nil, nil)
	workersSeen  = prometheus.NewDesc("latchkey_workers", "Worker processes that this edge hears, by pool.", []string{"pool"}, nil)
	workerSlots  = prometheus.NewDesc("latchkey_worker_slots", "Calls that those can run at once, by pool.", []string{"pool"}, nil)
	workersBusy  = prometheus.NewDesc("latchkey_worker_slots_busy", "Calls that those run, by pool.", []string{"pool"}, nil)
	buildVersion = prometheus.NewDesc("latchkey_build_info", "1, with the version of this edge.", []string{"version"}, nil)
)

// defaultPool is where servers run that name no other.
const defaultPool = "default"

// gauges reads what is so at the moment of the asking.
type gauges struct{ pl *platform }

func (g gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{limitsStore, tailsOpen, switchesOn, serverStates, tasksOpen, usageLag, workersSeen, workerSlots, workersBusy, buildVersion} {
		to <- d
	}
}

func (g gauges) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(buildVersion, 1, version())
	where := g.pl.limits.Where()
	for _, s := range []limits.State{limits.InMemory, limits.InValkey, limits.Degraded} {
		on := 0.0
		if s == where {
			on = 1
		}
		gauge(limitsStore, on, string(s))
	}
	gauge(tailsOpen, float64(g.pl.tails.Open()))
	if upto := g.pl.usageUpto.Load(); upto > 0 {
		gauge(usageLag, time.Since(time.Unix(upto, 0)).Seconds())
	}
	if n := g.pl.toggles.on.Load(); n != nil {
		for _, kind := range switches.Kinds {
			gauge(switchesOn, float64((*n)[kind]), string(kind))
		}
	}
	if n := g.pl.healthCount.Load(); n != nil {
		for _, state := range health.States() {
			gauge(serverStates, float64((*n)[state]), string(state))
		}
	}
	if n := g.pl.tasksOpen.Load(); n != nil {
		for _, s := range []tasks.State{tasks.Queued, tasks.Running, tasks.Asking} {
			gauge(tasksOpen, float64((*n)[s]), string(s))
		}
	}
	type pool struct{ workers, slots, busy int }
	pools := map[string]pool{defaultPool: {}} // there also when nobody is
	for _, w := range g.pl.edge.Workers() {
		p := pools[w.Pool]
		pools[w.Pool] = pool{p.workers + 1, p.slots + w.Slots, p.busy + w.Busy}
	}
	for name, p := range pools {
		gauge(workersSeen, float64(p.workers), name)
		gauge(workerSlots, float64(p.slots), name)
		gauge(workersBusy, float64(p.busy), name)
	}
}

// version is the module's, or the commit that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return info.Main.Version
}

// streams take as long as their reader likes.
var streams = map[string]bool{"tailAudit": true, "exportAudit": true}

// observeAPI counts an answer of the platform API.
func observeAPI(o api.Observation) {
	if !streams[o.Operation] {
		apiSeconds.WithLabelValues(o.Operation, strconv.Itoa(o.Status)).Observe(o.Took.Seconds())
	}
}

// observeCall counts each call and writes its one line.
func observeCall(log *slog.Logger) func(mcpgateway.Observation) {
	return func(o mcpgateway.Observation) {
		e := o.Event
		countSwitched(e)
		callSeconds.WithLabelValues(e.Method, string(e.State), e.Category).Observe(e.Latency.Seconds())
		switch e.Code {
		case fault.LimitReached.Name:
			if d, ok := e.Notes[audit.NoteLimit].(string); ok { // else it was a worker that said so
				limitedCalls.WithLabelValues(d).Inc()
			}
		case fault.RepeatedCall.Name:
			limitedCalls.WithLabelValues("repeats").Inc()
		}
		// Attributes of the types that slog writes without reflection: this is
		// in the way of every call.
		log.LogAttrs(context.Background(), slog.LevelInfo, "call",
			slog.String("call", e.CallID), slog.String("tenant", string(e.Tenant)), slog.String("server", e.Server),
			slog.String("method", e.Method), slog.String("tool", e.Tool), slog.String("user", string(e.User)), slog.String("client", e.Client),
			slog.String("outcome", string(e.State)), slog.String("code", e.Code), slog.Float64("ms", float64(e.Latency.Microseconds())/1000),
			slog.String("worker", e.Worker), slog.String("trace", e.TraceID))
	}
}

// observeTask counts the end of a task and writes its line.
func observeTask(log *slog.Logger) func(tasks.Task, tasks.End) {
	return func(t tasks.Task, e tasks.End) {
		taskEnds.WithLabelValues(string(e.State), strconv.FormatBool(!e.Unknown)).Inc()
		if !t.StartedAt.IsZero() {
			taskWait.Observe(t.StartedAt.Sub(t.CreatedAt).Seconds())
		}
		log.LogAttrs(context.Background(), slog.LevelInfo, "task",
			slog.String("task", t.ID), slog.String("call", t.CallID), slog.String("tenant", string(t.Tenant)), slog.String("server", t.ServerSlug), slog.String("tool", t.Tool),
			slog.String("state", string(e.State)), slog.String("code", e.Code), slog.Int("runs", t.Runs), slog.Bool("known", !e.Unknown), slog.Float64("s", e.At.Sub(t.CreatedAt).Seconds()))
	}
}

// countTasks counts open tasks for the gauges until ctx ends.
func (pl *platform) countTasks(ctx context.Context) {
	tick := time.NewTicker(15 * time.Second)
	defer tick.Stop()
	for {
		if n, err := pl.db.CountTasks(ctx); err == nil {
			pl.tasksOpen.Store(&n)
		} else if ctx.Err() == nil {
			pl.log.Error("count tasks", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func metricsServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.Handler())
	return &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
}
