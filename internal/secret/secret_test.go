package secret

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestTextNeverPrints(t *testing.T) {
	const value = "hunter2-canary"
	s := Text(value)
	holder := struct{ Password Text }{s}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "secret", s, "holder", holder.Password)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s, "holder", holder)
	for _, out := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v %s %q %x %d %#v %+v", s, s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", holder, holder, holder), fmt.Sprint(&holder),
		errors.New(fmt.Sprint("bad: ", s)).Error(), log.String(),
	} {
		if strings.Contains(out, value) || strings.Contains(out, fmt.Sprintf("%x", value)) {
			t.Errorf("printed: %s", out)
		}
	}
	if s.Reveal() != value || !s.Equal(value) || s.Equal("hunter3-canary") {
		t.Error("Reveal or Equal is wrong")
	}
}
