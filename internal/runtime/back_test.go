package runtime

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"latchkey/internal/fault"
)

// canary has the form of a credential and opens nothing.
const canary = "AK" + "IAQ3EGW5XN7RLZ4T2Y"

// What goes to the caller beside an answer is guarded as the answer is.
func TestCredentialNeverInAQuestionOrALog(t *testing.T) {
	w := newTestWorker(t, &fake{tool: func(ctx context.Context, _ *Call, env Env) (*Result, error) {
		env.Notify(Notification{Method: "notifications/message", Params: json.RawMessage(`{"level":"info","data":{"deep":["with ` + canary + `"]}}`)})
		env.Notify(Notification{Method: "notifications/message", Params: json.RawMessage(`{"level":"info","data":"` + strings.Repeat("x", MaxNotice) + `"}`)})
		if _, err := env.Ask(ctx, Question{Method: "elicitation/create", Params: json.RawMessage(`{"message":"is it ` + canary + `?","url":"https://example.com/?key=` + canary + `"}`)}); err != nil {
			return nil, err
		}
		_, err := env.Ask(ctx, Question{Method: "elicitation/create", Params: json.RawMessage(`{"message":"` + strings.Repeat("x", MaxQuestion) + `"}`)})
		wantCode(t, err, fault.Unanswerable)
		return ok(), nil
	}}, nil)
	var logs, questions []string
	res, err := w.Run(t.Context(), testCall(), time.Now().Add(time.Second), Back{
		Notify: func(n Notification) { logs = append(logs, string(n.Params)) },
		Ask: func(_ context.Context, q Question) (json.RawMessage, error) {
			questions = append(questions, string(q.Params))
			return json.RawMessage(`{"action":"decline"}`), nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(logs) != 1 || strings.Contains(logs[0], canary) || !strings.Contains(logs[0], "with ") {
		t.Errorf("logs %q", logs)
	}
	if len(questions) != 1 || strings.Count(questions[0], canary) != 1 || !strings.Contains(questions[0], `"url":"https://example.com/?key=`+canary+`"`) {
		t.Errorf("questions %q", questions)
	}
	if res.Guard == nil || len(res.Guard.Withheld) == 0 {
		t.Errorf("nobody hears that something was withheld: %+v", res.Guard)
	}
}

func TestNoMoreCallsWaitForAnswersThanThereMay(t *testing.T) {
	w := newTestWorker(t, &fake{tool: func(ctx context.Context, _ *Call, env Env) (*Result, error) {
		_, err := env.Ask(ctx, Question{Method: "roots/list"})
		return ok(), err
	}}, func(c *WorkerConfig) { c.MaxAsking, c.Slots = 1, 2 })
	asked, answer, first := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := w.Run(context.Background(), testCall(), time.Now().Add(time.Second), Back{Ask: func(context.Context, Question) (json.RawMessage, error) {
			close(asked)
			<-answer
			return json.RawMessage(`{}`), nil
		}})
		first <- err
	}()
	<-asked
	if n := w.Busy(); n != 0 {
		t.Errorf("a call that waits takes %d slots", n)
	}
	_, err := w.Run(t.Context(), testCall(), time.Now().Add(time.Second), Back{Ask: func(context.Context, Question) (json.RawMessage, error) {
		t.Error("one more was asked")
		return nil, nil
	}})
	wantCode(t, err, fault.Busy)
	close(answer)
	if err := <-first; err != nil || w.Busy() != 0 {
		t.Errorf("%v, %d slots are taken", err, w.Busy())
	}
}
