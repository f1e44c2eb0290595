package natsrt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/echotool"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Dispatch is measured with the kind echo, on workers in processes of their
// own. Run with -cpu of the machine: edge, server and workers share it.

var echoOpening = runtime.Opening{
	Tenant: tenants.NewID(), Server: tenants.NewServerID(), Revision: "rv1", Kind: "echo",
	Spec: json.RawMessage(`{"tools":[{"name":"echo","scope":"tool:echo"},{"name":"big","scope":"tool:big"}]}`), Guard: guards("echo", "big"),
}

func benchWorkerProcess(url secret.Text, name string) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	conn, err := natsrt.DialWorker(url, name, log)
	if err != nil {
		panic(err)
	}
	w := newWorker(name, 256, echotool.Kind, natsrt.NewOpenings(conn), log)
	if _, err := natsrt.ServeWorker(context.Background(), conn, "default", w); err != nil {
		panic(err)
	}
	if err := conn.FlushTimeout(5 * time.Second); err != nil {
		panic(err)
	}
	fmt.Println("ready")
	select {}
}

func benchEdge(b *testing.B, workers int) *natsrt.Edge {
	s, err := natsrt.StartServer(natsrt.ServerOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	conn, sys := must(s.EdgeConn("edge"))(b), must(s.SysConn())(b)
	b.Cleanup(conn.Close)
	b.Cleanup(sys.Close)
	e := must(natsrt.NewEdge(natsrt.EdgeConfig{Conn: conn, Sys: sys, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Opening: func(context.Context, tenants.ID, registry.ServerID, registry.RevisionID) (runtime.Opening, error) {
		return echoOpening, nil
	}}))(b)
	b.Cleanup(func() { e.Close() })
	for i := range workers {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "GOGC=400", "NATSRT_BENCH_WORKER="+s.WorkerURL().Reveal(), fmt.Sprintf("NATSRT_TEST_NAME=w%d", i))
		cmd.Stderr = os.Stderr
		out := must(cmd.StdoutPipe())(b)
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		if _, err := out.Read(make([]byte, 16)); err != nil {
			b.Fatal(err)
		}
	}
	return e
}

func benchCall(name, input string) *runtime.Call {
	return &runtime.Call{
		ID: tenants.RandomID("cl"), Tenant: echoOpening.Tenant, Server: echoOpening.Server, Revision: echoOpening.Revision, OpenHash: echoHash,
		Op: runtime.CallTool, Name: name, Input: json.RawMessage(input), Access: registry.ReadAccess, Deadline: time.Now().Add(30 * time.Second),
		Caller: runtime.Caller{User: "usaaaaaaaaaaaaaaaaaa", Email: "ada@example.com", Name: "Ada", Roles: []string{"support"}, Client: "bench"},
	}
}

var echoHash = echoOpening.Hash()

func benchmarkCall(b *testing.B, callers int, name, input string, retryable bool) {
	e := benchEdge(b, 1)
	times := make([][]time.Duration, callers)
	one := func(i int) {
		start := time.Now()
		if _, err := e.Do(context.Background(), benchCall(name, input), natsrt.DoOptions{Pool: "default", Retryable: retryable}); err != nil {
			b.Error(err)
		}
		times[i] = append(times[i], time.Since(start))
	}
	one(0) // opens the server
	times[0] = nil
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for n := i; n < b.N; n += callers {
				one(i)
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	sorted := slices.Concat(times...)
	slices.Sort(sorted)
	b.ReportMetric(float64(sorted[len(sorted)/2].Nanoseconds())/1000, "p50-µs")
	b.ReportMetric(float64(sorted[len(sorted)*99/100].Nanoseconds())/1000, "p99-µs")
	b.ReportMetric(float64(b.N)/took.Seconds(), "calls/s")
}

const smallArgs = `{"text":"hello"}`

func BenchmarkReadOneCaller(b *testing.B)  { benchmarkCall(b, 1, "echo", smallArgs, true) }
func BenchmarkWriteOneCaller(b *testing.B) { benchmarkCall(b, 1, "echo", smallArgs, false) }
func BenchmarkRead64Callers(b *testing.B)  { benchmarkCall(b, 64, "echo", smallArgs, true) }
func BenchmarkWrite64Callers(b *testing.B) { benchmarkCall(b, 64, "echo", smallArgs, false) }
func BenchmarkBig1MB(b *testing.B)         { benchmarkCall(b, 1, "big", `{"bytes":1000000}`, true) }
func BenchmarkBig10MB(b *testing.B)        { benchmarkCall(b, 1, "big", `{"bytes":10000000}`, true) }

// BenchmarkWorkerAlone is the worker's half without any transport.
func BenchmarkWorkerAlone(b *testing.B) {
	w := newWorker("w", 256, echotool.Kind, openingsFunc(func() runtime.Opening { return echoOpening }), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Run(context.Background(), benchCall("echo", smallArgs), time.Now().Add(time.Second), runtime.Back{}); err != nil {
			b.Fatal(err)
		}
	}
}

type openingsFunc func() runtime.Opening

func (f openingsFunc) Opening(context.Context, tenants.ID, registry.ServerID, registry.RevisionID) (runtime.Opening, error) {
	return f(), nil
}
