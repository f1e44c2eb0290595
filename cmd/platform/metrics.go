package main

import (
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"latchkey/internal/mcpgateway"
)

// Tenant, user and session are no labels: there are too many of them.
var callSeconds = promauto.NewHistogramVec(prometheus.HistogramOpts{
	Name:    "latchkey_call_duration_seconds",
	Help:    "Time from a call's typed message to its recorded outcome, in seconds.",
	Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
}, []string{"method", "outcome", "category"})

// observeCall counts each call and writes its one line.
func observeCall(log *slog.Logger) func(mcpgateway.Observation) {
	return func(o mcpgateway.Observation) {
		e := o.Event
		callSeconds.WithLabelValues(e.Method, string(e.State), e.Category).Observe(e.Latency.Seconds())
		log.Info("call", "call", e.CallID, "tenant", e.Tenant, "server", e.Server, "method", e.Method, "tool", e.Tool,
			"user", e.User, "client", e.Client, "outcome", e.State, "code", e.Code, "ms", float64(e.Latency.Microseconds())/1000,
			"worker", e.Worker, "trace", e.TraceID)
	}
}

func metricsServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.Handler())
	return &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
}
