package fault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestErrorsFileHasEveryCode holds docs/errors.md and the table of codes
// together: the same codes, in the same order, each on one row.
func TestErrorsFileHasEveryCode(t *testing.T) {
	file, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	categories := map[string]bool{}
	var got []string
	for _, line := range strings.Split(string(file), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		name, isCode := strings.CutPrefix(cells[0], "`")
		name = strings.TrimSuffix(name, "`")
		switch {
		case !strings.HasPrefix(line, "|") || !isCode:
		case len(cells) == 2:
			categories[name] = true
		case len(cells) != 4 || cells[2] == "" || cells[3] == "":
			t.Errorf("not code, category, when, what to do: %s", line)
		default:
			got = append(got, name+" "+cells[1])
		}
	}
	var want []string
	for _, c := range Codes() {
		want = append(want, c.Name+" "+string(c.Category))
		if !categories[string(c.Category)] {
			t.Errorf("the category %s of %s is not explained", c.Category, c)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/errors.md has\n%s\nthe codes are\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCodes(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Codes() {
		if !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(c.Name) || seen[c.Name] {
			t.Errorf("%q is no code, or there twice", c.Name)
		}
		seen[c.Name] = true
		if ByName(c.Name) != c || c.String() != c.Name {
			t.Errorf("%s is not found by its name", c)
		}
	}
	for _, unknown := range []string{"", "BUSY", "busy ", "no_such_code"} {
		if ByName(unknown) != Unexpected {
			t.Errorf("%q is %s", unknown, ByName(unknown))
		}
	}
	Codes()[0] = Code{}
	if Codes()[0] != Unauthenticated {
		t.Error("a caller changed the table")
	}
}

func TestCauseStaysInside(t *testing.T) {
	cause := errors.New("password=hunter2")
	err := New(UpstreamAway, "Away. %d%%", 5).Because(cause).After(time.Second).WithScope("s").WithDetails(Detail{Pointer: "/a", Reason: "b"})
	if strings.Contains(err.Message, "hunter2") || err.Message != "Away. 5%" {
		t.Error(err.Message)
	}
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "hunter2") {
		t.Error("the log does not see the cause")
	}
	outer := fmt.Errorf("op: %w", err)
	if f := Of(outer); f != err || !HasCode(outer, UpstreamAway) || HasCode(outer, Busy) || HasCode(nil, Busy) {
		t.Error(f)
	}
	unknown := Of(cause)
	if unknown.Code != Unexpected || strings.Contains(unknown.Message, "hunter2") || !errors.Is(unknown, cause) {
		t.Error(unknown)
	}
	var b bytes.Buffer
	slog.New(slog.NewJSONHandler(&b, nil)).Error("x", "error", err)
	for _, want := range []string{`"code":"upstream_unavailable"`, `"message":"Away. 5%"`, "hunter2"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the log has no %s: %s", want, b.String())
		}
	}
}

// TestAddingMakesACopy: a fault kept in a variable is shared by all calls.
func TestAddingMakesACopy(t *testing.T) {
	shared := New(Busy, "Busy.").WithDetails(Detail{Pointer: "/0"})
	a, b := shared.WithDetails(Detail{Pointer: "/a"}), shared.WithDetails(Detail{Pointer: "/b"})
	shared.Because(io.EOF)
	shared.After(time.Second)
	shared.WithScope("s")
	if shared.Unwrap() != nil || shared.RetryAfter != 0 || shared.Scope != "" || len(shared.Details) != 1 {
		t.Errorf("changed: %+v", shared)
	}
	if a.Details[1].Pointer != "/a" || b.Details[1].Pointer != "/b" {
		t.Errorf("%+v, %+v", a.Details, b.Details)
	}
}

func TestWrap(t *testing.T) {
	run := func(in error) (err error) {
		defer Wrap(&err, "op(%s)", "x")
		return in
	}
	if run(nil) != nil {
		t.Error("wrapped nothing")
	}
	if err := run(io.EOF); !errors.Is(err, io.EOF) || err.Error() != "op(x): EOF" {
		t.Error(err)
	}
}
