package sqltool

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

const (
	// countAhead is how many rows beyond those of the answer are counted.
	countAhead = 1000
	// commitTime is how long a commit may take that has been sent: to give it
	// up early would only turn a success into an unknown outcome.
	commitTime = 5 * time.Second
	// dropBytes is how much of what exceeds the bound is read and dropped to
	// keep a connection; beyond it the connection is dropped.
	dropBytes = 32 << 20

	cursor = "latchkey_rows"

	// identify tells the tenant's database who calls, for this transaction. The
	// values are arguments: a name with a quote in it is a name.
	identify = `SELECT set_config('latchkey.user_id', $1::text, true), set_config('latchkey.user_email', $2::text, true),
set_config('latchkey.roles', $3::text, true), set_config('latchkey.call_id', $4::text, true),
set_config('statement_timeout', $5::text, true), set_config('idle_in_transaction_session_timeout', $5::text, true)`
)

// answer is what a statement gave, within its bounds.
type answer struct {
	rows    [][]byte // JSON objects
	bytes   int
	more    int  // rows that were left out
	unsure  bool // more is a lower bound
	tooBig  bool // rows were left out for their size
	changed int64
	first   []byte // the first value of the first row, as Postgres writes it
	columns int
}

// run executes the statement for a call: credential, connection, transaction.
func (in *instance) run(ctx context.Context, c *runtime.Call, env runtime.Env, s *statement, args []any, a registry.Access) (*answer, error) {
	cred, err := env.Credential(ctx)
	if err != nil {
		return nil, err
	}
	limit := s.Timeout
	if deadline, has := ctx.Deadline(); has {
		limit = min(limit, time.Until(deadline))
	}
	if limit <= 0 {
		return nil, context.DeadlineExceeded
	}
	// The server stops the statement; this is for a server that does not.
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	conn, release, err := in.pools.acquire(ctx, cred, a)
	if err != nil {
		if loginRefused(err) && cred.Discard != nil {
			cred.Discard()
		}
		return nil, stopped(ctx, &connectError{err})
	}
	defer release()
	identity := []any{string(c.Caller.User), c.Caller.Email, strings.Join(c.Caller.Roles, ","), c.ID,
		strconv.FormatInt(max(1, limit.Milliseconds()), 10)}
	if a == registry.ReadAccess {
		ans, err := s.read(ctx, conn, identity, args)
		return ans, stopped(ctx, err)
	}
	ans, err := s.write(ctx, conn, identity, args)
	return ans, stopped(ctx, err)
}

// stopped says that the call ended rather than how the driver noticed.
func stopped(ctx context.Context, err error) error {
	var unknown *unknownOutcome
	if err != nil && ctx.Err() != nil && !errors.As(err, &unknown) {
		return fmt.Errorf("%w (%w)", ctx.Err(), err)
	}
	return err
}

// read runs the statement in a READ ONLY transaction that is rolled back:
// nothing that it set stays in the session. All of it is one round trip.
func (s *statement) read(ctx context.Context, conn *pgx.Conn, identity, args []any) (*answer, error) {
	b := &pgx.Batch{}
	b.Queue("BEGIN READ ONLY")
	b.Queue(identify, identity...)
	if s.Cursor {
		b.Queue("DECLARE "+cursor+" NO SCROLL CURSOR FOR "+s.SQL, args...)
		b.Queue("FETCH FORWARD " + strconv.Itoa(s.MaxRows+1) + " FROM " + cursor)
		b.Queue("MOVE FORWARD " + strconv.Itoa(countAhead) + " IN " + cursor)
	} else {
		b.Queue(s.SQL, args...)
	}
	b.Queue("ROLLBACK")
	results := conn.SendBatch(ctx, b)
	ans, err := s.readResults(conn, results)
	if closeErr := results.Close(); err == nil && ans.counted(closeErr) {
		err = closeErr
	}
	rollback(conn)
	return ans, err
}

func (s *statement) readResults(conn *pgx.Conn, results pgx.BatchResults) (*answer, error) {
	before := 2
	if s.Cursor {
		before = 3
	}
	for range before {
		if _, err := results.Exec(); err != nil {
			return nil, err
		}
	}
	ans := &answer{}
	if err := s.collect(conn, results, ans); err != nil {
		return nil, err
	}
	if !s.Cursor {
		ans.changed = 0
		return ans, nil
	}
	moved, err := results.Exec()
	if err != nil {
		// The rows are there; only how many more there are is not known.
		ans.unsure = ans.more > 0
		return ans, nil
	}
	ans.more += int(moved.RowsAffected())
	ans.unsure = moved.RowsAffected() == countAhead
	return ans, nil
}

// counted reports whether an error after the rows were read still matters: the
// end of a read's transaction does not, a connection that is lost does not
// either, for everything has been read.
func (a *answer) counted(err error) bool { return a == nil && err != nil }

// write runs the statement in a transaction and commits it. The commit is sent
// by itself: until then it is certain that nothing was done.
func (s *statement) write(ctx context.Context, conn *pgx.Conn, identity, args []any) (*answer, error) {
	b := &pgx.Batch{}
	b.Queue("BEGIN READ WRITE")
	b.Queue(identify, identity...)
	b.Queue(s.SQL, args...)
	results := conn.SendBatch(ctx, b)
	ans, err := s.writeResults(conn, results)
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		rollback(conn)
		return nil, err
	}
	// From here on the call is not stopped any more.
	commit, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
	defer cancel()
	tag, err := conn.Exec(commit, "COMMIT")
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused) && !terminated(refused):
		rollback(conn)
		return nil, err // a deferred constraint, a conflict: it was rolled back
	case err != nil:
		return nil, &unknownOutcome{err}
	case tag.String() != "COMMIT":
		return nil, errors.New("the transaction was rolled back: " + tag.String())
	}
	return ans, nil
}

func (s *statement) writeResults(conn *pgx.Conn, results pgx.BatchResults) (*answer, error) {
	for range 2 {
		if _, err := results.Exec(); err != nil {
			return nil, err
		}
	}
	ans := &answer{}
	return ans, s.collect(conn, results, ans)
}

// collect reads the rows of the next result, as far as the bounds go.
func (s *statement) collect(conn *pgx.Conn, results pgx.BatchResults, ans *answer) error {
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	var names [][]byte
	dropped := 0
	for rows.Next() {
		if names == nil {
			names = columnNames(rows.FieldDescriptions())
			ans.columns = len(names)
		}
		raw := rows.RawValues()
		if len(ans.rows) < s.MaxRows && !ans.tooBig {
			if len(ans.rows) == 0 && len(raw) > 0 {
				ans.first = append([]byte(nil), raw[0]...)
			}
			row := s.row(conn, names, rows.FieldDescriptions(), raw)
			if ans.bytes+len(row)+1 <= s.MaxBytes {
				ans.rows = append(ans.rows, row)
				ans.bytes += len(row) + 1
				continue
			}
			ans.tooBig = true
		}
		ans.more++
		for _, v := range raw {
			dropped += len(v)
		}
		if dropped > dropBytes {
			conn.PgConn().Conn().Close() // the rest is not worth its way
			return &tooLarge{}
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	ans.changed = rows.CommandTag().RowsAffected()
	if rows.CommandTag().Select() {
		ans.changed = 0
	}
	return nil
}

// row makes a JSON object whose members stand in the order of the columns.
func (s *statement) row(conn *pgx.Conn, names [][]byte, fields []pgconn.FieldDescription, raw [][]byte) []byte {
	out := []byte{'{'}
	for i, v := range raw {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(out, names[i]...), ':')
		out = appendValue(out, conn.TypeMap(), fields[i].DataTypeOID, v)
		if len(out) > s.MaxBytes+1 {
			return out // too large already, and never shown
		}
	}
	return append(out, '}')
}

// columnNames encodes the names. A second column of a name gets a number.
func columnNames(fields []pgconn.FieldDescription) [][]byte {
	names := make([][]byte, len(fields))
	seen := map[string]bool{}
	for i, f := range fields {
		name := f.Name
		if name == "?column?" {
			name = "column"
		}
		for n := 2; seen[name]; n++ {
			name = f.Name + "_" + strconv.Itoa(n)
		}
		seen[name] = true
		names[i] = appendText(nil, name)
	}
	return names
}

// rollback leaves the connection usable after a failure, or closes it.
func rollback(conn *pgx.Conn) {
	if conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), cancelWait)
	defer cancel()
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		conn.Close(ctx)
	}
}
