package demo

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
)

//go:embed crm.openapi.yaml
var crmOpenAPI []byte

// Upstream is an HTTP API of Acme's own: customers and incident tickets, on the
// demo's database, for whoever has its key. It is what a company has before it
// hosts tools, so it knows nothing of the platform: who a request is made for
// stands in X-Acting-User, because the caller is trusted to know.
type Upstream struct {
	pool *pgxpool.Pool
	key  secret.Text
	mux  *http.ServeMux
}

// OpenUpstream connects as the account that Databases made for it. dsn is that of
// the database demo_acme, without a user.
func OpenUpstream(ctx context.Context, dsn string, password, key secret.Text) (_ *Upstream, err error) {
	defer fault.Wrap(&err, "demo.OpenUpstream")
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.User, cfg.ConnConfig.Password = "acme_upstream", password.Reveal()
	cfg.MaxConns = 16
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	u := &Upstream{pool: pool, key: key, mux: http.NewServeMux()}
	u.mux.HandleFunc("GET /customers/{id}", u.query(fetchCustomer, byID))
	u.mux.HandleFunc("PATCH /customers/{id}", u.query(updateCustomer, byID, bodyText("email"), bodyText("phone")))
	u.mux.HandleFunc("DELETE /customers/{id}", u.query(deleteCustomer, byID))
	u.mux.HandleFunc("GET /incidents", u.query(listIncidents, queryText("status"), limit))
	u.mux.HandleFunc("POST /incidents", u.query(openIncident, bodyText("title"), bodyText("severity"), bodyText("description"), actingUser, header("X-Call-Id"), onceKey))
	return u, nil
}

// Close ends its connections.
func (u *Upstream) Close() { u.pool.Close() }

// ServeHTTP answers who has the key. The document is everybody's.
func (u *Upstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/openapi.yaml":
		w.Header().Set("Content-Type", "application/yaml")
		w.Write(crmOpenAPI)
	case !u.key.Equal(r.Header.Get("X-API-Key")) || u.key == "":
		say(w, http.StatusUnauthorized, "This key is not known.")
	case r.Header.Get("X-Acting-User") == "":
		say(w, http.StatusBadRequest, "X-Acting-User is missing.")
	default:
		u.mux.ServeHTTP(w, r)
	}
}

// The statements give one JSON value, or no row.
const (
	fetchCustomer = `SELECT row_to_json(x) FROM (
		SELECT c.id, c.name, c.region, c.email, c.phone, c.iban, c.card, c.notes AS note, c.erased_at,
		       (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) AS orders,
		       (SELECT coalesce(sum(l.quantity * l.unit_price), 0) FROM orders o JOIN order_lines l ON l.order_id = o.id WHERE o.customer_id = c.id) AS ordered
		FROM customers c WHERE c.id = $1) x`
	updateCustomer = `WITH x AS (
		UPDATE customers SET email = coalesce($2, email), phone = coalesce($3, phone)
		WHERE id = $1 AND erased_at IS NULL RETURNING id, name, email, phone) SELECT row_to_json(x) FROM x`
	deleteCustomer = `WITH x AS (
		UPDATE customers SET name = 'erased', email = '', phone = NULL, iban = NULL, card = NULL, notes = '', erased_at = coalesce(erased_at, now())
		WHERE id = $1 RETURNING id, erased_at) SELECT row_to_json(x) FROM x`
	listIncidents = `SELECT json_build_object('incidents', coalesce(json_agg(row_to_json(x)), '[]')) FROM (
		SELECT id AS ticket, title, severity, status, description, opened_by, opened_at FROM incidents
		WHERE $1::text IS NULL OR status = $1 ORDER BY opened_at DESC, id DESC LIMIT $2) x`
	openIncident = `SELECT row_to_json(x) FROM create_incident_ticket($1, $2, $3, $4, $5, $6) x`
)

// request is one that is being answered.
type request struct {
	*http.Request
	body map[string]json.RawMessage
}

// argument is one of a statement; an error is the caller's.
type argument func(r *request) (any, error)

func byID(r *request) (any, error) {
	n, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, errors.New("id must be a number")
	}
	return n, nil
}

func bodyText(name string) argument {
	return func(r *request) (any, error) {
		raw, has := r.body[name]
		if !has || string(raw) == "null" {
			return nil, nil
		}
		var s string
		if err := json.Unmarshal(raw, &s); err != nil || len(s) > 10_000 {
			return nil, errors.New(name + " must be a text")
		}
		return s, nil
	}
}

func queryText(name string) argument {
	return func(r *request) (any, error) {
		if v := r.URL.Query().Get(name); v != "" {
			return v, nil
		}
		return nil, nil
	}
}

func header(name string) argument {
	return func(r *request) (any, error) { return r.Header.Get(name), nil }
}

func actingUser(r *request) (any, error) { return r.Header.Get("X-Acting-User"), nil }

func limit(r *request) (any, error) {
	v := r.URL.Query().Get("limit")
	if v == "" {
		return 20, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 50 {
		return nil, errors.New("limit must be from 1 to 50")
	}
	return n, nil
}

// onceKey names a request, so that the same one opens no second ticket.
func onceKey(r *request) (any, error) {
	if k := r.Header.Get("Idempotency-Key"); k != "" {
		return k, nil
	}
	if k, err := bodyText("request_id")(r); err != nil || k != nil {
		return k, err
	}
	return rand.Text(), nil
}

// query answers with what a statement gives, run as the person that the request is
// made for: the database's own policies say what they see.
func (u *Upstream) query(sql string, args ...argument) http.HandlerFunc {
	return func(w http.ResponseWriter, hr *http.Request) {
		r := &request{Request: hr}
		raw, err := io.ReadAll(http.MaxBytesReader(w, hr.Body, 64<<10))
		if err == nil && len(raw) > 0 {
			err = json.Unmarshal(raw, &r.body)
		}
		if err != nil {
			say(w, http.StatusBadRequest, "The body is no JSON object.")
			return
		}
		values := make([]any, len(args))
		for i, a := range args {
			if values[i], err = a(r); err != nil {
				say(w, http.StatusUnprocessableEntity, err.Error())
				return
			}
		}
		ctx, cancel := context.WithTimeout(hr.Context(), 20*time.Second)
		defer cancel()
		var out json.RawMessage
		err = pgx.BeginFunc(ctx, u.pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `SELECT set_config('latchkey.user_email', $1, true)`, hr.Header.Get("X-Acting-User")); err != nil {
				return err
			}
			return tx.QueryRow(ctx, sql, values...).Scan(&out)
		})
		if err != nil {
			refuseRequest(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(out)
	}
}

func statusOf(err error) (int, string) {
	var pe *pgconn.PgError
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return http.StatusNotFound, "There is no such thing."
	case errors.As(err, &pe) && pe.Code == "P0001":
		return http.StatusConflict, pe.Message
	case errors.As(err, &pe) && (pe.Code[:2] == "23" || pe.Code[:2] == "22"):
		return http.StatusUnprocessableEntity, "These values are not allowed."
	}
	return http.StatusInternalServerError, "This failed."
}

func refuseRequest(w http.ResponseWriter, err error) {
	status, message := statusOf(err)
	say(w, status, message)
}

// say answers with a problem (RFC 9457).
func say(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"status": status, "title": http.StatusText(status), "detail": message})
}
