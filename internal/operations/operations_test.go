package operations_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/operations"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
)

func TestMain(m *testing.M) {
	if url := os.Getenv(victimURL); url != "" {
		victim(url)
	}
	testenv.Main(m)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kept are credentials that remember whose they were asked to delete.
type kept struct {
	err     atomic.Pointer[fault.Error]
	deleted chan tenants.ID
}

func (k *kept) DeleteTenant(_ context.Context, t tenants.ID) error {
	k.deleted <- t
	if err := k.err.Load(); err != nil {
		return err
	}
	return nil
}

// start runs a runner until the test ends.
func start(t *testing.T, db *postgres.DB, kinds ...operations.Kind) *operations.Runner {
	t.Helper()
	r := operations.New(db, nil, kinds...)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return r
}

func begin(t *testing.T, db *postgres.DB, slug string) tenants.Operation {
	t.Helper()
	ten, _ := postgrestest.Tenant(t, db, slug)
	op, err := db.BeginDeleteTenant(t.Context(), ten.ID, "ops@example.com", time.Now())
	check(t, err)
	return op
}

// await polls the store, which is what people do, until it holds.
func await(t *testing.T, db *postgres.DB, op tenants.Operation, what string, holds func(tenants.Operation) bool) tenants.Operation {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for {
		now, err := db.PlatformOperation(t.Context(), op.ID)
		check(t, err)
		if holds(now) {
			return now
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not %s: %+v", what, now)
		}
	}
}

func done(o tenants.Operation) bool { return o.State == tenants.OperationDone }

func TestTenantIsDeleted(t *testing.T) {
	db := postgrestest.New(t)
	k := &kept{deleted: make(chan tenants.ID, 10)}
	r := start(t, db, operations.DeleteTenant(k, db))
	op := begin(t, db, "acme")
	r.Wake()
	await(t, db, op, "done", done)
	if got := <-k.deleted; got != op.Tenant {
		t.Errorf("credentials of %s were deleted", got)
	}
	if _, err := db.TenantBySlug(t.Context(), "acme"); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("still there: %v", err)
	}
}

func TestVaultAwayIsTriedAgain(t *testing.T) {
	db := postgrestest.New(t)
	k := &kept{deleted: make(chan tenants.ID, 10)}
	k.err.Store(fault.New(fault.CredentialsAway, "Vault does not answer."))
	start(t, db, operations.DeleteTenant(k, db))
	op := begin(t, db, "acme")
	<-k.deleted
	got := await(t, db, op, "queued again", func(o tenants.Operation) bool { return o.State == tenants.OperationQueued && o.Attempts == 1 })
	if got.Error != "Vault does not answer." {
		t.Errorf("%+v", got)
	}
	if _, err := db.TenantBySlug(t.Context(), "acme"); err != nil {
		t.Errorf("its rows went before its credentials: %v", err)
	}
	k.err.Store(nil)
	await(t, db, op, "done", func(o tenants.Operation) bool { return done(o) && o.Attempts == 2 && o.Error == "" })
}

func TestWhatCannotBeMendedFails(t *testing.T) {
	db := postgrestest.New(t)
	var panics atomic.Int32
	start(t, db, operations.Kind{Name: tenants.DeleteTenantOperation, Run: func(context.Context, tenants.Operation) error {
		if panics.Add(1) == 1 {
			panic("here")
		}
		return fault.New(fault.Conflict, "Something stands in the way.").Because(errors.New("secret"))
	}})
	op := begin(t, db, "acme")
	got := await(t, db, op, "failed", func(o tenants.Operation) bool { return o.State == tenants.OperationFailed })
	if got.Error != "Something stands in the way." || got.Attempts != 2 || got.FinishedAt.IsZero() {
		t.Errorf("%+v", got)
	}
}

func TestStoppedRunnerGivesBack(t *testing.T) {
	db := postgrestest.New(t)
	op := begin(t, db, "acme")
	running := make(chan struct{})
	r := operations.New(db, nil, operations.Kind{Name: tenants.DeleteTenantOperation, Run: func(ctx context.Context, _ tenants.Operation) error {
		close(running)
		<-ctx.Done()
		return ctx.Err()
	}})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.Run(ctx) }()
	<-running
	stop()
	<-ended
	got, err := db.PlatformOperation(t.Context(), op.ID)
	if err != nil || got.State != tenants.OperationQueued {
		t.Fatalf("%+v, %v", got, err)
	}
	start(t, db, operations.DeleteTenant(&kept{deleted: make(chan tenants.ID, 1)}, db))
	await(t, db, op, "done", done)
}

func TestOthersKindsAreLeft(t *testing.T) {
	db := postgrestest.New(t)
	op := begin(t, db, "acme")
	r := operations.New(db, nil, operations.Kind{Name: "other", Run: func(context.Context, tenants.Operation) error { return errors.New("ran") }})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r.Run(ctx)
	if got, err := db.PlatformOperation(t.Context(), op.ID); err != nil || got.State != tenants.OperationQueued || got.Attempts != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

const victimURL = "LATCHKEY_TEST_VICTIM"

// victim is a process that dies in the middle of an operation.
func victim(url string) {
	db, err := postgres.Open(context.Background(), postgres.Options{URL: url})
	if err != nil {
		panic(err)
	}
	operations.New(db, nil, operations.Kind{Name: tenants.DeleteTenantOperation, Run: func(ctx context.Context, op tenants.Operation) error {
		fmt.Println("running")
		<-ctx.Done() // it never does
		return nil
	}}).Run(context.Background())
}

// TestKilledRunnerIsReplaced kills the process that has the operation, without
// a word of farewell, and moves the end of its lease to now.
func TestKilledRunnerIsReplaced(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	op := begin(t, db, "acme")
	self, err := os.Executable()
	check(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), victimURL+"="+urls.App)
	out, err := cmd.StdoutPipe()
	check(t, err)
	check(t, cmd.Start())
	line := make([]byte, 8)
	if _, err := out.Read(line); err != nil || string(line) != "running\n" {
		t.Fatalf("%q, %v", line, err)
	}
	check(t, cmd.Process.Kill())
	cmd.Wait()
	held := await(t, db, op, "running", func(o tenants.Operation) bool { return o.State == tenants.OperationRunning })
	check(t, db.KeepOperation(t.Context(), held, -time.Second)) // its 30 seconds are over
	start(t, db, operations.DeleteTenant(&kept{deleted: make(chan tenants.ID, 1)}, db))
	got := await(t, db, op, "done", done)
	if got.Attempts != 2 {
		t.Errorf("%+v", got)
	}
}
