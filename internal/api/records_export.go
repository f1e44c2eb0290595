package api

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

const (
	exportPage = 1000
	// exportTime bounds an export: longer times are exported in parts.
	exportTime = 15 * time.Minute
	// maxExports is how many one tenant may have under way on one edge.
	maxExports = 4
)

var exports = running{each: maxExports}

// exportAudit streams records, oldest first. The last line says that it is
// complete and how many there were; an export without it was cut off.
func (a *API) exportAudit(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), exportTime)
	defer cancel()
	t := tenantOf(ctx)
	f, err := a.filterOf(ctx, c.QueryParams())
	if err != nil {
		return err
	}
	if f.Until.IsZero() {
		f.Until = a.Now().UTC()
	}
	end, ok := exports.begin(t.ID)
	if !ok {
		return fault.New(fault.LimitReached, "%d exports of this tenant are under way here. Wait until one is done.", maxExports).After(30 * time.Second)
	}
	defer end()
	page, err := a.Records.Store.ExportAudit(ctx, t.ID, f, audit.Position{}, exportPage)
	if err != nil {
		return err // nothing was sent yet, so this is a problem like any other
	}
	var w recordWriter = &ndjsonWriter{json.NewEncoder(c.Response())}
	kind := "ndjson"
	if c.QueryParam("format") == "csv" {
		w, kind = &csvWriter{w: csv.NewWriter(c.Response()), to: c.Response()}, "csv"
	}
	h := c.Response().Header()
	h.Set("Content-Type", map[string]string{"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}[kind])
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-audit-%s.%s"`, t.Slug, f.Until.Format("20060102-150405"), kind))
	c.Response().WriteHeader(http.StatusOK)
	if err := a.export(ctx, http.NewResponseController(c.Response()), w, t.ID, f, page); err != nil {
		a.Log.InfoContext(ctx, "export cut off", "tenant", string(t.ID), "error", err)
		panic(http.ErrAbortHandler) // so that the connection breaks, too
	}
	return nil
}

func (a *API) export(ctx context.Context, control *http.ResponseController, w recordWriter, t tenants.ID, f audit.Filter, page audit.Page) (err error) {
	n := 0
	if err := w.begin(); err != nil {
		return err
	}
	for {
		names, err := a.Records.Store.AuditNames(ctx, t, page.Events)
		if err != nil {
			return err
		}
		_ = control.SetWriteDeadline(time.Now().Add(time.Minute)) // a recorder has none
		for i := range page.Events {
			if err := w.write(recordOf(&page.Events[i], names)); err != nil {
				return err
			}
		}
		if n += len(page.Events); !page.More {
			return w.end(n)
		}
		if err := control.Flush(); err != nil {
			return err
		}
		if page, err = a.Records.Store.ExportAudit(ctx, t, f, page.Next, exportPage); err != nil {
			return err
		}
	}
}

// recordWriter is a format of an export.
type recordWriter interface {
	begin() error
	write(e AuditEvent) error
	end(n int) error
}

type ndjsonWriter struct{ *json.Encoder }

func (w *ndjsonWriter) begin() error             { return nil }
func (w *ndjsonWriter) write(e AuditEvent) error { return w.Encode(e) }
func (w *ndjsonWriter) end(n int) error {
	return w.Encode(struct {
		Complete bool `json:"complete"`
		Records  int  `json:"records"`
	}{true, n})
}

type csvWriter struct {
	w  *csv.Writer
	to io.Writer
}

var csvColumns = []string{
	"id", "at", "call_id", "phase", "method", "outcome", "decision", "member", "member_id", "client", "client_name", "grant", "server", "revision", "tool",
	"scope", "reason", "category", "code", "arguments", "latency_ms", "result_bytes", "worker", "lease_id", "trace_id", "idempotency_key", "notes",
}

func (w *csvWriter) begin() error { return w.w.Write(csvColumns) }

func (w *csvWriter) write(e AuditEvent) error {
	var latency, size string
	if e.LatencyMs != nil {
		latency = strconv.FormatFloat(float64(*e.LatencyMs), 'f', 3, 32)
	}
	if e.ResultBytes != nil {
		size = strconv.Itoa(*e.ResultBytes)
	}
	cells := []string{
		e.Id, e.At.Format(time.RFC3339Nano), e.CallId, string(e.Phase), e.Method, string(e.Outcome), string(e.Decision), deref(e.Member), deref(e.MemberId),
		deref(e.Client), deref(e.ClientName), deref(e.Grant), deref(e.Server), deref(e.Revision), deref(e.Tool), deref(e.Scope), deref(e.Reason),
		deref(e.Category), deref(e.Code), deref(e.Arguments), latency, size, deref(e.Worker), deref(e.LeaseId), deref(e.TraceId), deref(e.IdempotencyKey), notesText(e.Notes),
	}
	for i := range cells {
		cells[i] = harmless(cells[i])
	}
	return w.w.Write(cells)
}

// end is a line that no record looks like: no id begins with a #.
func (w *csvWriter) end(n int) error {
	if w.w.Flush(); w.w.Error() != nil {
		return w.w.Error()
	}
	_, err := fmt.Fprintf(w.to, "#complete,%d\n", n)
	return err
}

// harmless keeps a spreadsheet from taking what a model or a client sent for a
// formula.
func harmless(cell string) string {
	if cell != "" {
		switch cell[0] {
		case '=', '+', '-', '@', '\t', '\r', '\n':
			return "'" + cell
		}
	}
	return cell
}

func notesText(n *json.RawMessage) string {
	if n == nil {
		return ""
	}
	return string(*n)
}
