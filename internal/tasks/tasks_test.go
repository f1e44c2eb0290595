package tasks_test

import (
	"testing"
	"time"

	"latchkey/internal/registry"
	"latchkey/internal/tasks"
)

func TestWhatFollowsOnAClaim(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	fresh := tasks.Task{Risk: registry.Writes, Timeout: time.Minute, Deadline: now.Add(tasks.Patience + time.Minute)}
	for _, c := range []struct {
		what   string
		change func(*tasks.Task)
		want   tasks.Step
	}{
		{"new", func(*tasks.Task) {}, tasks.Run},
		{"cancelled in the queue", func(k *tasks.Task) { k.CancelAsked = true }, tasks.Cancel},
		{"cancelled, and lost while it ran", func(k *tasks.Task) { k.CancelAsked, k.Started, k.Runs = true, true, 1 }, tasks.Cancel},
		{"in time to begin", func(k *tasks.Task) { k.Deadline = now.Add(time.Minute + time.Second) }, tasks.Run},
		{"too late to begin", func(k *tasks.Task) { k.Deadline = now.Add(time.Minute) }, tasks.Late},
		{"lost with effects", func(k *tasks.Task) { k.Started, k.Runs = true, 1 }, tasks.Lost},
		{"lost, repeatable", func(k *tasks.Task) { k.Started, k.Runs, k.Repeatable = true, 1, true }, tasks.Run},
		{"lost too often", func(k *tasks.Task) { k.Started, k.Runs, k.Repeatable = true, tasks.MaxRuns, true }, tasks.Lost},
		{"lost, with little time left", func(k *tasks.Task) { k.Started, k.Runs, k.Repeatable, k.Deadline = true, 1, true, now.Add(time.Second) }, tasks.Run},
		{"lost, with no time left", func(k *tasks.Task) { k.Started, k.Runs, k.Repeatable, k.Deadline = true, 1, true, now }, tasks.Lost},
		{"given back clean", func(k *tasks.Task) { k.Attempt = 7 }, tasks.Run},
	} {
		k := fresh
		c.change(&k)
		if got := k.Next(now); got != c.want {
			t.Errorf("%s: step %d, want %d", c.what, got, c.want)
		}
	}
}

func TestDoubtIsAboutEffectsOnly(t *testing.T) {
	for risk, want := range map[registry.Risk]bool{registry.Reads: false, registry.Writes: true, registry.Destructive: true} {
		k := tasks.Task{Risk: risk, Started: true}
		if k.InDoubt() != want {
			t.Errorf("%s: %v", risk, k.InDoubt())
		}
		if k.Started = false; k.InDoubt() {
			t.Errorf("%s: nothing was started", risk)
		}
	}
}

func TestIDsAreLongAndStrict(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := tasks.NewID()
		if !tasks.ValidID(id) || seen[id] {
			t.Fatal(id)
		}
		seen[id] = true
	}
	for _, id := range []string{"", "tk", tasks.NewID() + "a", "TK" + tasks.NewID()[2:], "tk../../../../../etc/passwd0", "tk" + tasks.NewID()[2:27] + "1", tasks.NewID()[:27] + "\x00"} {
		if tasks.ValidID(id) {
			t.Errorf("%q is taken for an id", id)
		}
	}
}

func TestOnlyEndsAreEnds(t *testing.T) {
	ends := 0
	for _, s := range tasks.States {
		if s.Ended() {
			ends++
		}
	}
	if ends != 3 || tasks.Asking.Ended() || tasks.Queued.Ended() {
		t.Errorf("%d ends", ends)
	}
}
