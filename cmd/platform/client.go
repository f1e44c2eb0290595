package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/api"
	"latchkey/internal/fault"
	"latchkey/internal/secret"
)

// apiClient calls the platform API for commands.
type apiClient struct {
	base string // ends in /api/v1
	key  secret.Text
	http *http.Client
}

// apiOptions are the flags of every command that uses the API.
type apiOptions struct {
	url      string
	stateDir string
	// operator prefers an operator's key where both are known.
	operator bool
}

func (o *apiOptions) addTo(c *cobra.Command) {
	c.Flags().StringVar(&o.url, "url", "", "the platform, such as https://platform.example.com (default: LATCHKEY_URL, or `platform dev` on this machine)")
	c.Flags().StringVar(&o.stateDir, "state", defaultState, "folder of the `platform dev` to use where no URL is set")
}

const apiHelp = "Calls the platform API: LATCHKEY_URL says where, LATCHKEY_API_KEY holds a key. After `platform dev` on this machine it\n" +
	"uses that one's, where neither is set."

// client finds the platform and a key for it.
func (o *apiOptions) client() (*apiClient, error) {
	base, key := o.url, secret.Text(os.Getenv("LATCHKEY_API_KEY"))
	if base == "" {
		base = os.Getenv("LATCHKEY_URL")
	}
	if base == "" {
		r, err := readReady(o.stateDir)
		if err != nil {
			return nil, err
		}
		base = r.APIURL
		if key == "" {
			key = r.APIKey
			if o.operator && r.Operator.APIKey != "" {
				key = r.Operator.APIKey
			}
		}
	}
	if key == "" {
		return nil, usageError{errors.New("LATCHKEY_API_KEY is not set; make a key in the console under API keys, or take an operator's")}
	}
	u, err := url.Parse(strings.TrimRight(base, "/"))
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
		return nil, usageError{fmt.Errorf("%q is not the URL of a platform; write one such as https://platform.example.com (plain http is for this machine only)", base)}
	}
	if !strings.HasSuffix(u.Path, "/api/v1") {
		u.Path += "/api/v1"
	}
	return &apiClient{base: u.String(), key: key, http: &http.Client{Timeout: 5 * time.Minute}}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// readReady reads what a running `platform dev` says of itself.
func readReady(stateDir string) (r ready, err error) {
	path := filepath.Join(stateDir, "ready.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return r, usageError{errors.New("no platform is named: set LATCHKEY_URL and LATCHKEY_API_KEY, or start one here with `make dev`")}
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w; start `make dev` anew", path, err)
	}
	return r, nil
}

// do calls an operation. body and into may be nil. A problem comes back as the
// fault that it says.
func (c *apiClient) do(ctx context.Context, method, path string, query url.Values, body, into any) error {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(b)
	}
	u := c.base + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, u, send)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.key.Reveal())
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(r)
	if err != nil {
		return c.unreachable(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("the answer of %s was cut off: %w; try again", c.base, err)
	}
	if res.StatusCode >= 400 {
		return problemOf(res, b)
	}
	if into == nil || len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s does not answer as a platform of this version does: %w", c.base, err)
	}
	return nil
}

func (c *apiClient) unreachable(err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("nothing answers at %s; is the platform running? On this machine: `make dev`", c.base)
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the URL's query
	}
	return fmt.Errorf("%s cannot be reached: %w", c.base, err)
}

// problemOf reads an RFC 9457 problem.
func problemOf(res *http.Response, body []byte) error {
	var p api.Problem
	if json.Unmarshal(body, &p) != nil || p.Code == "" {
		return fmt.Errorf("the platform answered %s without saying why; is the URL right?", res.Status)
	}
	return faultOf(p)
}

func faultOf(p api.Problem) error {
	f := fault.New(fault.ByName(p.Code), "%s", p.Detail)
	if f.Code.Category == fault.Internal {
		f = fault.New(f.Code, "%s (request %s)", p.Detail, p.RequestId)
	}
	if p.RetryAfterS != nil {
		f = f.After(time.Duration(*p.RetryAfterS) * time.Second)
	}
	if p.Errors == nil {
		return f
	}
	for _, e := range *p.Errors {
		d := fault.Detail{Pointer: e.Pointer, Reason: e.Detail}
		if e.Fix != nil {
			d.Fix = *e.Fix
		}
		if e.Line != nil && e.Column != nil {
			d.Line, d.Column = *e.Line, *e.Column
		}
		f = f.WithDetails(d)
	}
	return f
}
