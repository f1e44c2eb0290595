package main

import (
	"context"
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
		// Attributes of the types that slog writes without reflection: this is
		// in the way of every call.
		log.LogAttrs(context.Background(), slog.LevelInfo, "call",
			slog.String("call", e.CallID), slog.String("tenant", string(e.Tenant)), slog.String("server", e.Server),
			slog.String("method", e.Method), slog.String("tool", e.Tool), slog.String("user", string(e.User)), slog.String("client", e.Client),
			slog.String("outcome", string(e.State)), slog.String("code", e.Code), slog.Float64("ms", float64(e.Latency.Microseconds())/1000),
			slog.String("worker", e.Worker), slog.String("trace", e.TraceID))
	}
}

func metricsServer() *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.Handler())
	return &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
}
