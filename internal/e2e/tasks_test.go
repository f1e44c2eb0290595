package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// later is a server whose tool works for long, at a tenant.
func (c *contract) later(tenant, role string, rule any) {
	c.Helper()
	at := "/tenants/" + tenant
	c.must("operator", "PUT", at+"/servers/later", object{"kind": "echo", "publish": true, "spec": object{"tools": []object{{"name": "work", "scope": "later", "task": rule}}}}, http.StatusOK, nil)
	c.must("operator", "PATCH", at+"/access", object{"changes": []object{{"role": role, "server": "later", "scope": "later", "open": true}}}, http.StatusOK, nil)
}

// taskAnswer is what the extension's methods are answered.
type taskAnswer struct {
	Result struct {
		TaskID, Status, StatusMessage string
		Result                        *struct{ Content []struct{ Text string } }
	}
	Error *struct{ Message string }
}

// Task sends a request of a client that follows tasks.
func (p *Platform) Task(ctx context.Context, resource, token, method string, params map[string]any) (got taskAnswer, err error) {
	params["_meta"] = map[string]any{
		"io.modelcontextprotocol/protocolVersion":    Modern,
		"io.modelcontextprotocol/clientCapabilities": map[string]any{"elicitation": map[string]any{}, "extensions": map[string]any{"io.modelcontextprotocol/tasks": map[string]any{}}},
	}
	header := []string{}
	if id, ok := params["taskId"].(string); ok {
		header = []string{"Mcp-Name", id}
	}
	a, err := p.RPC(ctx, resource, token, method, params, header...)
	if err == nil {
		err = json.Unmarshal([]byte(a.Body), &got)
	}
	if err == nil && got.Error != nil {
		err = fmt.Errorf("%s: %s", method, got.Error.Message)
	}
	return got, err
}

// taskOf makes a task that works for some seconds, and waits until it does.
func taskOf(t *testing.T, p *Platform, at, token string, seconds int) string {
	t.Helper()
	made, err := p.Task(t.Context(), at, token, "tools/call", map[string]any{"name": "work", "arguments": map[string]any{"seconds": seconds}})
	if err != nil || made.Result.TaskID == "" {
		t.Fatalf("%+v %v", made, err)
	}
	Eventually(t, 30*time.Second, func() error {
		got, err := p.Task(t.Context(), at, token, "tasks/get", map[string]any{"taskId": made.Result.TaskID})
		if err == nil && !strings.Contains(got.Result.StatusMessage, "worked") {
			err = fmt.Errorf("it does not run yet: %+v", got.Result)
		}
		return err
	})
	return made.Result.TaskID
}

type listedTask struct {
	ID, Status, Code, Message string
	Runs                      int
}

// Everything that runs a task may be killed while it runs: its worker, then the
// platform with NATS, Postgres and all. It is run again, and its end is told to
// who asked.
func TestTaskOutlivesItsWorkerAndThePlatform(t *testing.T) {
	t.Parallel()
	state := StateDir(t)
	p := StartIn(t, state)
	c := newContract(t, p)
	k := p.Token(t, "dana@acme.test", "diagnostics", "diagnostics")
	at := p.Resource("acme", "diagnostics")

	id := taskOf(t, p, at, k.Access, 6)
	pid, err := p.Worker()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	Eventually(t, 2*time.Minute, func() error {
		got, err := p.Task(t.Context(), at, k.Access, "tasks/get", map[string]any{"taskId": id})
		switch {
		case err != nil:
			return err
		case got.Result.Status == "working":
			return fmt.Errorf("%+v", got.Result)
		case got.Result.Status != "completed" || got.Result.Result == nil || got.Result.Result.Content[0].Text != "Worked 6 s.":
			return final{fmt.Errorf("it ended as %+v", got.Result)}
		}
		return nil
	})
	var one listedTask
	c.must("operator", "GET", "/tenants/acme/tasks/"+id, nil, http.StatusOK, &one)
	if one.Runs != 2 {
		t.Errorf("%+v, want two runs", one)
	}

	id = taskOf(t, p, at, k.Access, 6)
	if err := syscall.Kill(p.child.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.child.Done()
	again := StartIn(t, state)
	c = newContract(t, again)
	Eventually(t, 2*time.Minute, func() error {
		c.must("operator", "GET", "/tenants/acme/tasks/"+id, nil, http.StatusOK, &one)
		if one.Status == "queued" || one.Status == "running" {
			return fmt.Errorf("%+v", one)
		}
		return nil
	})
	if one.Status != "completed" || one.Runs != 2 || one.Code != "" {
		t.Errorf("after the platform was killed: %+v", one)
	}
}

func init() {
	provocations["task_needed"] = func(w *codes) said {
		w.later("acme", "tester", "required")
		k := w.p.Token(w.T, "dana@acme.test", "later", "later")
		return w.http(w.p.MustCall(w.T, w.p.Resource("acme", "later"), k.Access, "work", object{"seconds": 1}))
	}
}

// task is one of a tenant, which waits for an answer.
func (c *contract) task(tenant string) string {
	c.Helper()
	role := map[string]string{"acme": "finance", "globex": "admin"}[tenant]
	who := map[string]string{"acme": "fred@acme.test", "globex": "gina@globex.test"}[tenant]
	c.later(tenant, role, "required")
	k := c.p.Token(c.T, who, "later", "later")
	made, err := c.p.Task(c.Context(), c.p.Resource(tenant, "later"), k.Access, "tools/call", map[string]any{"name": "work", "arguments": map[string]any{"seconds": 600}})
	if err != nil || made.Result.TaskID == "" {
		c.Fatalf("%+v %v", made, err)
	}
	return made.Result.TaskID
}

func (c *contract) taskExamples() map[string]*example {
	task, noTask := map[string]string{"task": c.task("acme")}, map[string]string{"task": c.task("globex")}
	return map[string]*example{
		"listTasks":  {},
		"getTask":    {path: task, foreign: noTask},
		"cancelTask": {path: task, foreign: noTask},
	}
}
