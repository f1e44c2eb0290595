package mcpgateway

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/rogpeppe/go-internal/txtar"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

var updateTasks = flag.Bool("update-tasks", false, "write testdata/tasks.txtar anew")

var (
	taskIDs  = regexp.MustCompile(`tk[a-z2-7]{26}`)
	instants = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)
	callIDs2 = regexp.MustCompile(`ca[a-z0-9]{18}`)
	asMillis = regexp.MustCompile(`"pollIntervalMs": \d+|"ttlMs": \d+`)
)

// TestTasksTranscript plays what a client and the gateway say to each other, and
// holds it against testdata/tasks.txtar: there a reader finds the extension's
// schema (2026-07-28) as it is spoken here. docs/tasks.md quotes it.
func TestTasksTranscript(t *testing.T) {
	o := newOffice(t)
	w, _ := o.edge()
	out := &txtar.Archive{Comment: []byte("Tasks (io.modelcontextprotocol/tasks, 2026-07-28) as they are spoken: each request is followed by its answer.\nIds and times are replaced; go test -run TestTasksTranscript -update-tasks writes it anew.\n\n")}
	say := func(what, method, name, params string) answerOf {
		t.Helper()
		m := w.rpc(w.mine(), method, name, `{`+params+`,`+tasksMeta+`}`)
		request := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"%s","params":{%s,%s}}`, method, params, tasksMeta)
		for _, f := range []struct{ name, text string }{{what, request}, {what + ", answer", m.raw}} {
			var b bytes.Buffer
			if err := json.Indent(&b, []byte(f.text), "", "  "); err != nil {
				t.Fatal(err)
			}
			text := taskIDs.ReplaceAll(b.Bytes(), []byte("tk…"))
			text = instants.ReplaceAll(text, []byte("2026-11-26T10:00:00Z"))
			text = callIDs2.ReplaceAll(text, []byte("ca…"))
			text = asMillis.ReplaceAllFunc(text, func(m []byte) []byte { return append(m[:bytes.IndexByte(m, ':')+2:bytes.IndexByte(m, ':')+2], '0') })
			out.Files = append(out.Files, txtar.File{Name: f.name, Data: append(text, '\n')})
		}
		return m
	}
	gate := make(chan struct{})
	w.answer(func(ctx context.Context, c *runtime.Call, d DispatchOptions) (DispatchOutcome, error) {
		answer, err := d.Ask(ctx, runtime.Question{Method: "elicitation/create", Params: json.RawMessage(`{"mode":"form","message":"Which region?","requestedSchema":{"type":"object","properties":{"region":{"type":"string"}}}}`)})
		if err != nil {
			return DispatchOutcome{Started: true}, err
		}
		d.Progress(1, 2, "half of it")
		<-gate
		return DispatchOutcome{Started: true, Result: &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "Exported for " + string(answer)}}}}}, nil
	})
	id := say("a call that becomes a task", "tools/call", "export", `"name":"export","arguments":{"id":7}`).Result.TaskID
	task := `"taskId":"` + id + `"`
	var key string
	untilEvery(t, pollPace, "the question", func() bool {
		for k := range w.ask("tasks/get", id).Result.InputRequests {
			key = k
		}
		return key != ""
	})
	say("it asks", "tasks/get", id, task)
	say("it is answered", "tasks/update", id, task+`,"inputResponses":{"`+key+`":{"action":"accept","content":{"region":"north"}}}`)
	untilEvery(t, pollPace, "progress", func() bool { return w.ask("tasks/get", id).Result.StatusMessage == "half of it" })
	say("it works", "tasks/get", id, task)
	close(gate)
	w.ended(t, id)
	say("it is done", "tasks/get", id, task)
	say("cancelling what is done changes nothing", "tasks/cancel", id, task)
	w.answer(failing(true, fault.New(fault.OutcomeUnknown, "The worker that had this call was lost, and it is not known whether the call took effect.")))
	lost := say("a call with effects", "tools/call", "pay", `"name":"pay","arguments":{"id":1}`).Result.TaskID
	w.ended(t, lost)
	say("its worker was lost", "tasks/get", lost, `"taskId":"`+lost+`"`)
	began := w.hung()
	stopped := say("another", "tools/call", "export", `"name":"export"`).Result.TaskID
	<-began
	say("it is cancelled", "tasks/cancel", stopped, `"taskId":"`+stopped+`"`)
	w.ended(t, stopped)
	say("so it ends", "tasks/get", stopped, `"taskId":"`+stopped+`"`)
	say("what is not there", "tasks/get", "tk", `"taskId":"tk"`)

	const path = "testdata/tasks.txtar"
	if *updateTasks {
		if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := txtar.Format(out); !bytes.Equal(got, want) {
		t.Errorf("the transcript differs; see -update-tasks. Got:\n%s", got)
	}
}
