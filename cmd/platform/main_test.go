package main

import (
	"errors"
	"fmt"
	"testing"

	"latchkey/internal/fault"
)

func TestErrorsAreSaidToPeople(t *testing.T) {
	inner := error(fault.New(fault.InvalidSpec, "db:5432 refused the account x. Check its name and password.").Because(errors.New("FATAL: password authentication failed (SQLSTATE 28P01)")))
	fault.Wrap(&inner, "vault.PutDatabase(%s, %s)", "tn1", "sv1")
	for _, c := range []struct {
		err  error
		want string
		code int
	}{
		{fmt.Errorf("server orders: %w", inner), "server orders: db:5432 refused the account x. Check its name and password.", exitFailed},
		{usageError{errors.New("name the file")}, "name the file", exitUsage},
		{fmt.Errorf("open: %w", errors.New("no such file")), "open: no such file", exitFailed},
		{fault.New(fault.NotFound, "There is nothing of that name here.").Because(errors.New("no rows")), "There is nothing of that name here.", exitNotFound},
		{errors.Join(errors.New("a"), errors.New("b")), "a\nb", exitFailed},
	} {
		if got := explain(c.err); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		if got := exitCode(c.err); got != c.code {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.code)
		}
	}
}
