package natsrt_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"latchkey/internal/runtime/natsrt"
)

// refusals connects a worker and hears what the server does not let it do.
func (r *rig) refusals(name string) (*nats.Conn, <-chan error) {
	r.Helper()
	conn := must(natsrt.DialWorker(r.server.WorkerURL(), name, slog.New(slog.DiscardHandler)))(r.T)
	r.Cleanup(conn.Close)
	refused := make(chan error, 64)
	conn.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	return conn, refused
}

func TestWorkerCannotListenToOthers(t *testing.T) {
	r := newRig(t)
	conn, refused := r.refusals("spy")
	for _, subject := range []string{"call.default", "call.>", "_R.>", "_INBOX.>", "opening.get", "worker.announce", ">", "$SYS.>", "$JS.>"} {
		if _, err := conn.Subscribe(subject, func(*nats.Msg) {}); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, refused, subject)
	}
	if _, err := conn.QueueSubscribe("call.default", "spies", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	wantRefused(t, refused, "call.default in a queue group of its own")
}

func TestWorkerCannotHandOutCalls(t *testing.T) {
	r := newRig(t)
	conn, refused := r.refusals("liar")
	for _, subject := range []string{"call.default", "ctl.other", "evt.revoked", "_INBOX.x", "_W.x", "$JS.API.INFO", "$KV.x.y"} {
		if err := conn.Publish(subject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		wantRefused(t, refused, subject)
	}
}

func wantRefused(t *testing.T, refused <-chan error, what string) {
	t.Helper()
	select {
	case err := <-refused:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(3 * time.Second):
		t.Errorf("%s was allowed", what)
	}
}

func TestPasswordIsNotPrinted(t *testing.T) {
	r := newRig(t)
	url := r.server.WorkerURL()
	if !strings.HasPrefix(url.Reveal(), "nats://worker:") || strings.Contains(url.String(), "worker") {
		t.Errorf("URL prints as %s", url)
	}
	for _, bad := range []string{"nats://worker:canary@", "::canary", "nats://worker:can%ary@host:1"} {
		if _, err := natsrt.DialWorker(secretText(bad), "w", slog.New(slog.DiscardHandler)); err == nil || strings.Contains(err.Error(), "can") {
			t.Errorf("%v", err)
		}
	}
}

func TestWrongPasswordRefused(t *testing.T) {
	r := newRig(t)
	url := secretText(strings.Replace(r.server.WorkerURL().Reveal(), "worker:", "worker:x", 1))
	conn, err := natsrt.DialWorker(url, "w", slog.New(slog.DiscardHandler))
	if err != nil {
		return // refused at once is as good
	}
	defer conn.Close()
	r.until("the connection was not given up", func() bool { return conn.IsClosed() })
}

func TestServerTakesTheWorkersPasswordAndJetStream(t *testing.T) {
	s := must(natsrt.StartServer(natsrt.ServerOptions{WorkerPassword: "given", StoreDir: t.TempDir()}))(t)
	defer s.Close()
	if !strings.HasPrefix(s.WorkerURL().Reveal(), "nats://worker:given@127.0.0.1:") {
		t.Error("the password is not the given one, or it does not listen on loopback only")
	}
	conn := must(s.EdgeConn("edge"))(t)
	defer conn.Close()
	js := must(conn.JetStream())(t)
	kv := must(js.CreateKeyValue(&nats.KeyValueConfig{Bucket: "fanout"}))(t)
	if _, err := kv.PutString("a.b", "c"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	w := must(kv.WatchAll(nats.Context(ctx)))(t)
	if e := <-w.Updates(); e == nil || e.Key() != "a.b" {
		t.Errorf("watched %v", e)
	}
}
