package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"latchkey/internal/embedded"
	"latchkey/internal/secret"
	"latchkey/internal/vault"
)

type workerOptions struct {
	state     *embedded.State
	natsURL   secret.Text
	vaultAddr string
	grantKeys []vault.Key
	hosting   []string // settings for packaged servers, and PATH
	log       *slog.Logger
}

// workerProcess is a worker that runs as a process of its own, as in
// production, and is started again when it dies.
type workerProcess struct {
	opts   workerOptions
	path   string
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu    sync.Mutex
	child *embedded.Child
	first chan struct{} // closed when the first one is ready
	once  sync.Once
}

func startWorker(o workerOptions) (*workerProcess, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(filepath.Dir(exe), "worker")
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("there is no worker beside %s: run `make build`", exe)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &workerProcess{opts: o, path: path, ctx: ctx, cancel: cancel, first: make(chan struct{})}
	if err := w.launch(); err != nil {
		cancel()
		return nil, err
	}
	w.ended.Go(w.supervise)
	return w, nil
}

func (w *workerProcess) launch() error {
	_, keys := publicKeys(w.opts.grantKeys)
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	child, err := embedded.StartChild(embedded.ChildOptions{
		Name: "worker", Path: w.path, Args: []string{"run"}, Log: w.opts.state.Path("worker.log"), Stdout: in,
		Env: append(append(sandboxSettings(w.opts.state), w.opts.hosting...),
			"LATCHKEY_NATS_URL="+w.opts.natsURL.Reveal(), "VAULT_ADDR="+w.opts.vaultAddr,
			"LATCHKEY_GRANT_KEYS="+keys, "LATCHKEY_WORKER_DRAIN=5s",
			"LATCHKEY_EGRESS_ALLOW=127.0.0.0/8,::1", // here upstreams are on this machine
		),
	})
	in.Close()
	if err != nil {
		out.Close()
		return err
	}
	w.mu.Lock()
	w.child = child
	w.mu.Unlock()
	go func() {
		defer out.Close()
		if bufio.NewScanner(out).Scan() { // it says one line when it is ready
			w.once.Do(func() { close(w.first) })
		}
	}()
	return nil
}

// sandboxSettings hands on what the operator set, with a folder of the
// platform's own unless there is another.
func sandboxSettings(state *embedded.State) []string {
	out := []string{"LATCHKEY_SANDBOX_DIR=" + state.Path("sandbox")}
	for _, s := range os.Environ() {
		if strings.HasPrefix(s, "LATCHKEY_SANDBOX") {
			out = append(out, s)
		}
	}
	return out
}

// supervise starts the worker again when it dies, at first at once, then with
// a pause, so that one that cannot start does not spin.
func (w *workerProcess) supervise() {
	pause := time.Duration(0)
	for {
		w.mu.Lock()
		child := w.child
		w.mu.Unlock()
		began := time.Now()
		<-child.Done()
		if w.ctx.Err() != nil {
			return
		}
		if time.Since(began) > 30*time.Second {
			pause = 0
		}
		w.opts.log.Warn("the worker ended and is started again", "error", child.Err(), "after", time.Since(began), "pause", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-w.ctx.Done():
			timer.Stop()
			return
		}
		pause = min(max(2*pause, 100*time.Millisecond), 5*time.Second)
		if err := w.launch(); err != nil {
			w.opts.log.Error("the worker could not be started", "error", err)
		}
	}
}

// ready waits for the first worker to take calls.
func (w *workerProcess) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	select {
	case <-w.first:
		return nil
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		return fmt.Errorf("the worker did not become ready; the end of its log (%s):\n%s", w.opts.state.Path("worker.log"), w.child.LogTail())
	}
}

func (w *workerProcess) pid() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.child.Pid()
}

func (w *workerProcess) stop() error {
	w.cancel()
	w.mu.Lock()
	child := w.child
	w.mu.Unlock()
	err := child.Stop()
	w.ended.Wait()
	return errors.Join(err)
}
