package registry

import (
	"time"

	"gopkg.in/yaml.v3"
)

// TaskMode is whether calls of a tool become tasks: a handle at once, and the
// result when it is there.
type TaskMode string

const (
	TaskDefault   TaskMode = "" // optional where a call may take longer than taskFrom, else forbidden
	TaskOptional  TaskMode = "optional"
	TaskRequired  TaskMode = "required" // who cannot have a task cannot call it
	TaskForbidden TaskMode = "forbidden"
)

// TaskRule is how a tool runs as a task. The zero value is the default.
type TaskRule struct {
	Mode TaskMode `json:"mode,omitempty"`
	// Timeout is how long one run as a task may take; the tool's own where it is
	// 0. A kind may have shorter bounds of its own, such as a statement's.
	Timeout time.Duration `json:"timeout,omitempty"`
	// TTL is how long what came of it is kept; 24 hours where it is 0.
	TTL time.Duration `json:"ttl,omitempty"`
	// Max is how many tasks of this tool one person may have that have not
	// ended; 10 where it is 0.
	Max int `json:"max,omitempty"`
}

// MaxTaskTimeout bounds one run of any task.
const MaxTaskTimeout = time.Hour

const (
	taskFrom   = time.Minute
	maxTaskTTL = 7 * 24 * time.Hour
)

// TaskMode is the mode of the tool's rule, or the default.
func (t *Tool) TaskMode() TaskMode {
	switch {
	case t.Task.Mode != TaskDefault:
		return t.Task.Mode
	case max(t.Timeout, t.Task.Timeout) > taskFrom:
		return TaskOptional
	}
	return TaskForbidden
}

// RunTimeout is how long one run may take where a call alone may take own.
func (r TaskRule) RunTimeout(own time.Duration) time.Duration {
	if r.Timeout == 0 {
		return own
	}
	return r.Timeout
}

// KeepFor is TTL or its default.
func (r TaskRule) KeepFor() time.Duration {
	if r.TTL == 0 {
		return 24 * time.Hour
	}
	return r.TTL
}

// AtOnce is Max or its default.
func (r TaskRule) AtOnce() int {
	if r.Max == 0 {
		return 10
	}
	return r.Max
}

// task reads the rule: a mode, or a mapping.
func (r safetyReader) task() (t TaskRule) {
	v := r.Value("task")
	if v == nil {
		return t
	}
	if v.Kind == yaml.ScalarNode {
		t.Mode = r.taskMode(r.Object, "task")
		return t
	}
	o, ok := r.part("task", "mode", "timeout", "ttl", "max")
	if !ok {
		return t
	}
	t.Mode = r.taskMode(o, "mode")
	t.Timeout = spell(o, "timeout", 15*time.Minute, time.Second, MaxTaskTimeout)
	t.TTL = spell(o, "ttl", 24*time.Hour, time.Minute, maxTaskTTL)
	t.Max = o.Whole("max", 0, 1, 1000)
	if t.Mode == TaskForbidden && (t.Timeout > 0 || t.TTL > 0 || t.Max > 0) {
		o.Bad("mode", "is forbidden, and the rest says how it runs as a task", "write mode: optional, or remove the rest")
	}
	return t
}

func (r safetyReader) taskMode(o Object, key string) TaskMode {
	switch m := TaskMode(o.Text(key)); m {
	case TaskDefault, TaskOptional, TaskRequired, TaskForbidden:
		return m
	}
	o.Bad(key, "is not known", "write optional, required or forbidden")
	return TaskDefault
}
