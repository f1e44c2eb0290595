package sandbox_test

import (
	"bufio"
	"context"
	"io"
	"os/exec"
	"testing"
	"time"

	"latchkey/internal/sandbox"
)

// BenchmarkNode is from a start to the first line of a Node program that reads
// lines, with its memory then, and a line there and back.
func BenchmarkNode(b *testing.B) {
	node, err := exec.LookPath("node")
	if err != nil {
		b.Skip("no node")
	}
	const script = `process.stdout.write("ready\n"); require("readline").createInterface({input: process.stdin}).on("line", l => process.stdout.write(l + "\n"))`
	measure := func(b *testing.B, r io.Reader, w io.Writer, began time.Time) (cold, warm time.Duration) {
		lines := bufio.NewReader(r)
		if _, err := lines.ReadString('\n'); err != nil {
			b.Fatal(err)
		}
		cold = time.Since(began)
		began = time.Now()
		for range 100 {
			io.WriteString(w, "{}\n")
			if _, err := lines.ReadString('\n'); err != nil {
				b.Fatal(err)
			}
		}
		return cold, time.Since(began) / 100
	}
	report := func(b *testing.B, cold, warm time.Duration, memory int64) {
		b.ReportMetric(float64(cold.Microseconds())/1000/float64(b.N), "ms-cold")
		b.ReportMetric(float64(warm.Microseconds())/float64(b.N), "µs-warm")
		b.ReportMetric(float64(memory>>20)/float64(b.N), "MB")
		b.ReportMetric(0, "ns/op")
	}
	b.Run("none", func(b *testing.B) {
		var cold, warm time.Duration
		for b.Loop() {
			cmd := exec.Command(node, "-e", script)
			w, _ := cmd.StdinPipe()
			r, _ := cmd.StdoutPipe()
			began := time.Now()
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			c, one := measure(b, r, w, began)
			cold, warm = cold+c, warm+one
			w.Close()
			cmd.Wait()
		}
		report(b, cold, warm, 0)
	})
	for _, name := range []string{"bwrap", "gvisor"} {
		for _, list := range [][]string{nil, {"example.com:443"}} {
			title := name
			if list != nil {
				title += "-egress"
			}
			b.Run(title, func(b *testing.B) {
				d := openDriver(b, name, sandbox.Options{Dir: b.TempDir()}).Driver
				var cold, warm time.Duration
				var memory int64
				for b.Loop() {
					began := time.Now()
					p, err := d.Start(context.Background(), sandbox.Spec{Tenant: "tn_a", Server: "sv_a", Argv: []string{"node", "-e", script}, Egress: list})
					if err != nil {
						b.Fatal(err)
					}
					r, w := p.Stdio()
					c, one := measure(b, r, w, began)
					cold, warm, memory = cold+c, warm+one, memory+p.Stats().MemoryBytes
					p.Stop(5 * time.Second)
				}
				report(b, cold, warm, memory)
			})
		}
	}
}
