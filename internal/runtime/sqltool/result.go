package sqltool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// result makes the tool's answer: the structured one, and the same as text for
// clients that read only that.
func (t *tool) result(a *answer, access registry.Access) (*runtime.Result, error) {
	var b bytes.Buffer
	if t.Single {
		b.WriteString(`{"row":`)
		if len(a.rows) > 0 {
			b.Write(a.rows[0])
		} else {
			b.WriteString("null")
		}
	} else {
		b.WriteString(`{"rows":`)
		writeRows(&b, a.rows)
	}
	b.WriteString(`,"row_count":` + strconv.Itoa(len(a.rows)))
	if a.more > 0 {
		b.WriteString(`,"more_rows":` + strconv.Itoa(a.more))
	}
	if access == registry.WriteAccess {
		b.WriteString(`,"rows_changed":` + strconv.FormatInt(a.changed, 10))
	}
	if note := t.note(a, access); note != "" {
		b.WriteString(`,"note":`)
		b.Write(appendText(nil, note))
	}
	b.WriteByte('}')
	return &runtime.Result{
		Tool: &mcp.CallToolResult{
			Content:           []mcp.Content{&mcp.TextContent{Text: b.String()}},
			StructuredContent: json.RawMessage(b.Bytes()),
		},
		Rows: len(a.rows),
	}, nil
}

func writeRows(b *bytes.Buffer, rows [][]byte) {
	b.WriteByte('[')
	b.Write(bytes.Join(rows, []byte{','}))
	b.WriteByte(']')
}

// note says what the numbers mean for the next call.
func (s *statement) note(a *answer, access registry.Access) string {
	least := ""
	if a.unsure {
		least = "at least "
	}
	switch {
	case a.tooBig && len(a.rows) == 0:
		return fmt.Sprintf("A row is larger than the %d bytes that this tool may answer with. Ask for less in a row.", s.MaxBytes)
	case a.tooBig:
		return fmt.Sprintf("%s%d more rows were left out, for the size of the answer. Narrow the query.", least, a.more)
	case a.more > 0:
		return fmt.Sprintf("%s%d more rows were left out. Narrow the query.", least, a.more)
	case len(a.rows) > 0 || a.changed > 0:
		return ""
	case access == registry.WriteAccess:
		return "Nothing was changed: nothing matched the arguments."
	}
	return "No rows matched."
}

// result makes the answer of a resource: the rows as a JSON list, the one row
// as an object, or the one value as it is where the type is not JSON.
func (r *resource) result(uri string, a *answer) (*runtime.Result, error) {
	var b bytes.Buffer
	switch {
	case r.Single && len(a.rows) == 0 && !a.tooBig:
		return nil, fault.New(fault.NotFound, "This server has no resource %q.", uri)
	case a.tooBig:
		return nil, fault.New(fault.ResultTooLarge, "The resource has more than the %d bytes that are allowed.", r.MaxBytes)
	case !isJSON(r.MIMEType) && a.columns > 1:
		return nil, fault.New(fault.ToolFailed, "This resource cannot be read: its statement gives several columns for %s. Tell your administrator.", r.MIMEType)
	case !isJSON(r.MIMEType):
		b.Write(a.first)
	case r.Single:
		b.Write(a.rows[0])
	default:
		writeRows(&b, a.rows)
	}
	return &runtime.Result{
		Resource: &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: uri, MIMEType: r.MIMEType, Text: b.String()}}},
		Rows:     len(a.rows),
	}, nil
}

func isJSON(mime string) bool {
	mime, _, _ = strings.Cut(mime, ";")
	return mime == "application/json" || strings.HasSuffix(mime, "+json")
}

// connectError is a failure before the statement was sent.
type connectError struct{ err error }

func (e *connectError) Error() string { return "connect: " + e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// unknownOutcome is a commit that was sent and not answered.
type unknownOutcome struct{ err error }

func (e *unknownOutcome) Error() string { return "commit: " + e.err.Error() }
func (e *unknownOutcome) Unwrap() error { return e.err }

// tooLarge is an answer far beyond any bound.
type tooLarge struct{}

func (*tooLarge) Error() string { return "the rows exceed what is read at all" }

// failure tells a tool's failure, which is a result the model acts on, from a
// fault of the infrastructure, which is an error.
func failure(err error) (*runtime.Result, error) {
	message, ok := actionable(err)
	if !ok {
		return nil, explain(err)
	}
	structured, jsonErr := json.Marshal(map[string]any{"error": map[string]any{
		"category": fault.Validation, "code": fault.ToolFailed.Name, "message": message,
	}})
	if jsonErr != nil {
		return nil, jsonErr
	}
	return &runtime.Result{
		Tool: &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: message}}, StructuredContent: json.RawMessage(structured)},
		Rows: 0,
	}, nil
}

// resourceFailure is the same for a resource, which has no results that fail.
func resourceFailure(err error) error {
	if message, ok := actionable(err); ok {
		return fault.New(fault.ToolFailed, "%s", message).Because(err)
	}
	return explain(err)
}

// actionable gives the words for what the database refused because of what was
// asked. Only a RAISE EXCEPTION of the tenant's own speaks for itself; other
// messages of Postgres name tables, statements and values.
func actionable(err error) (string, bool) {
	var pe *pgconn.PgError
	var ce *connectError
	if !errors.As(err, &pe) || errors.As(err, &ce) {
		return "", false
	}
	switch pe.Code {
	case "P0001":
		return cut(pe.Message, 500), true
	case "42501":
		return "The database refused this for your user. Do not retry; ask your administrator for the right to do it.", true
	case "25006":
		return "This tool is declared as one that only reads, and its statement writes. Nothing was changed; tell your administrator.", true
	case "23505":
		return "This exists already" + constraint(pe) + ". Nothing was changed.", true
	case "23503":
		return "This refers to something that does not exist, or that is still referred to" + constraint(pe) + ". Nothing was changed.", true
	case "23502":
		return "A value that is needed is missing. Nothing was changed.", true
	case "23514":
		return "The database does not allow these values" + constraint(pe) + ". Nothing was changed.", true
	case "22001":
		return "A text is too long. Nothing was changed.", true
	case "22003":
		return "A number is out of range. Nothing was changed.", true
	case "22007", "22008":
		return "A date or time is not valid. Nothing was changed.", true
	case "22012":
		return "This would divide by zero. Nothing was changed.", true
	case "22P02":
		return "A value does not have the form that the database needs. Nothing was changed.", true
	}
	switch pe.Code[:2] {
	case "23", "22", "44":
		return "The database does not allow these values" + constraint(pe) + ". Nothing was changed.", true
	}
	return "", false
}

func constraint(pe *pgconn.PgError) string {
	if pe.ConstraintName == "" {
		return ""
	}
	return " (" + cut(pe.ConstraintName, 63) + ")"
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// explain makes the error for the caller; the cause goes to the log.
func explain(err error) error {
	var f *fault.Error
	var pe *pgconn.PgError
	var unknown *unknownOutcome
	var big *tooLarge
	switch {
	case errors.As(err, &f):
		return err // from the credential
	case errors.As(err, &unknown):
		return fault.New(fault.OutcomeUnknown, "The connection to the database was lost while the change was being confirmed. It may have been made or not: look before you try again.").Because(err)
	case errors.Is(err, context.Canceled):
		return fault.New(fault.Cancelled, "The call was cancelled. Nothing was changed.").Because(err)
	case errors.Is(err, context.DeadlineExceeded):
		return deadline(err)
	case errors.As(err, &big):
		return fault.New(fault.ResultTooLarge, "The answer is far larger than a tool may give. Narrow the query.").Because(err)
	case !errors.As(err, &pe):
		return upstreamAway(err)
	}
	switch {
	case pe.Code == "57014":
		return deadline(err)
	case pe.Code == "40001" || pe.Code == "40P01" || pe.Code == "55P03":
		return fault.New(fault.UpstreamAway, "Another change of the same data got in the way. Nothing was changed. Call again in 1 s.").After(time.Second).Because(err)
	case terminated(pe) || pe.Code[:2] == "08" || pe.Code[:2] == "28" || pe.Code[:2] == "53" || pe.Code[:2] == "58":
		return upstreamAway(err)
	}
	return fault.New(fault.ToolFailed, "The tool's statement does not work on its database. Nothing was changed. Do not retry; tell your administrator.").Because(err)
}

// terminated reports that the server ended the session, for whatever reason.
func terminated(pe *pgconn.PgError) bool {
	switch pe.Code {
	case "57P01", "57P02", "57P03", "57P04", "57P05", "25P03":
		return true
	}
	return false
}

func deadline(err error) error {
	return fault.New(fault.DeadlineExceeded, "The statement took longer than it may and was stopped. Nothing was changed. Narrow the query, or call again later.").Because(err)
}

func upstreamAway(err error) error {
	return fault.New(fault.UpstreamAway, "The database behind this tool cannot be reached at the moment. Nothing was changed. Call again in 2 s.").After(2 * time.Second).Because(err)
}
