package httptool

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/fault"
)

const uploads = `
openapi: 3.1.0
info: {title: Uploads, version: '1'}
paths:
  /files:
    post:
      operationId: upload
      requestBody:
        required: true
        content:
          multipart/form-data:
            schema:
              type: object
              required: [file]
              properties:
                file: {type: string, format: binary, description: The report.}
                photos: {type: array, items: {type: string, contentMediaType: image/png}}
                avatar: {type: string, contentMediaType: image/png}
                note: {type: string}
                count: {type: integer}
                tags: {type: array, items: {type: string}}
                meta: {type: object, properties: {a: {type: string}}}
                page: {type: object, properties: {b: {type: string}}}
                seal: {type: string, contentEncoding: base64}
            encoding:
              photos: {contentType: 'image/png, image/jpeg'}
              avatar: {contentType: 'image/*'}
              page: {contentType: application/xml}
              note:
                contentType: text/markdown
                headers:
                  X-Part: {schema: {type: string, const: one}}
                  X-Free: {schema: {type: string}}
                  X-Evil: {schema: {type: string, const: "a\r\nX-Injected: b"}}
                  Content-Disposition: {schema: {type: string, const: attachment}}
      responses: {'200': {description: D}}
  /raw:
    put: {operationId: raw, requestBody: {required: true, content: {application/octet-stream: {schema: {type: string, format: binary}}}}, responses: {'200': {description: D}}}
  /picture:
    put: {operationId: picture, requestBody: {required: true, content: {image/png: {}, image/jpeg: {}}}, responses: {'200': {description: D}}}
  /xml:
    put: {operationId: xml, requestBody: {required: true, content: {application/xml: {schema: {type: object}}, application/octet-stream: {}}}, responses: {'200': {description: D}}}
  /plain:
    put: {operationId: plain, requestBody: {required: true, content: {text/plain: {schema: {type: string}, encoding: {a: {style: form}}}}}, responses: {'200': {description: D}}}
  /form:
    post:
      operationId: form
      requestBody:
        content:
          application/x-www-form-urlencoded:
            schema: {type: object, properties: {json: {type: object}, joined: {type: array, items: {type: string}}, piped: {type: array, items: {type: string}}, each: {type: array, items: {type: string}}, deep: {type: object}, url: {type: string}, plain: {type: string}}}
            encoding:
              json: {contentType: application/json}
              joined: {style: form, explode: false}
              piped: {style: pipeDelimited}
              deep: {style: deepObject}
              url: {allowReserved: true}
      responses: {'200': {description: D}}
`

func uploadsSpec(more string) string {
	return "openapi:\n  document: |\n    " + strings.ReplaceAll(strings.TrimSpace(uploads), "\n", "\n    ") + "\n  operations: [upload, raw, picture, xml, plain, form]\n" + more
}

// partsOf reads what was sent as a server does.
func partsOf(t testing.TB, got seen) (out []string) {
	t.Helper()
	media, parameters, err := mime.ParseMediaType(got.header.Get("Content-Type"))
	if err != nil || media != "multipart/form-data" {
		t.Fatalf("it was sent as %q", got.header.Get("Content-Type"))
	}
	r := multipart.NewReader(strings.NewReader(got.body), parameters["boundary"])
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%v in %q", err, got.body)
		}
		content, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		var more []string
		for k, v := range p.Header {
			if k != "Content-Disposition" && k != "Content-Type" {
				more = append(more, k+": "+strings.Join(v, ","))
			}
		}
		slices.Sort(more)
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s|%s|%s|%s %s", p.FormName(), p.FileName(), p.Header.Get("Content-Type"), content, strings.Join(more, " "))))
	}
}

func TestFilesAreSentInParts(t *testing.T) {
	u := newUpstream(t, answersJSON(`{"ok":true}`))
	s := serve(t, u, keyAuth, uploadsSpec(""))
	png := base64.StdEncoding.EncodeToString([]byte{0x89, 'P', 'N', 'G', 0, 0xff, '\r', '\n', '-', '-'})
	for name, c := range map[string]struct {
		input string
		want  []string
	}{
		"a text":       {`{"file":{"text":"a,b\n1,2","name":"r.csv","type":"text/csv"}}`, []string{"file|r.csv|text/csv|a,b\n1,2"}},
		"by default":   {`{"file":{"text":"hé"}}`, []string{"file|file|text/plain; charset=utf-8|hé"}},
		"binary":       {`{"file":{"base64":"` + png + `","name":"ü 1.png"}}`, []string{"file|ü 1.png|application/octet-stream|\x89PNG\x00\xff\r\n--"}},
		"unpadded":     {`{"file":{"base64":"YQ"}}`, []string{"file|file|application/octet-stream|a"}},
		"empty":        {`{"file":{"text":"","name":"e"}}`, []string{"file|e|text/plain; charset=utf-8|"}},
		"many files":   {`{"file":{"text":"x"},"photos":[{"base64":"YQ==","name":"1.png","type":"image/png"},{"base64":"Yg==","type":"image/jpeg"}]}`, []string{"file|file|text/plain; charset=utf-8|x", "photos|1.png|image/png|a", "photos|file|image/jpeg|b"}},
		"any picture":  {`{"file":{"text":"x"},"avatar":{"text":"<svg/>","type":"image/svg+xml"}}`, []string{"file|file|text/plain; charset=utf-8|x", "avatar|file|image/svg+xml|<svg/>"}},
		"other fields": {`{"file":{"text":"x"},"note":"# N","count":3,"tags":["a","b"],"meta":{"a":"1"},"page":"<p/>","seal":"YQ=="}`, []string{"file|file|text/plain; charset=utf-8|x", "note||text/markdown|# N X-Part: one", "count|||3", "tags|||a", "tags|||b", `meta||application/json|{"a":"1"}`, "page||application/xml|<p/>", "seal|||YQ=="}},
		"null":         {`{"file":{"text":"x"},"note":null,"tags":[]}`, []string{"file|file|text/plain; charset=utf-8|x"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := s.structured("upload", c.input); got != `{"ok":true}` {
				t.Errorf("got %s", got)
			}
			if got := partsOf(t, u.last(t)); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// Whatever a value holds, it stays in its part.
func TestPartsCannotBeForged(t *testing.T) {
	u := newUpstream(t, answersJSON(`{}`))
	s := serve(t, u, keyAuth, uploadsSpec(""))
	s.structured("upload", `{"file":{"text":"x"}}`)
	_, parameters, _ := mime.ParseMediaType(u.last(t).header.Get("Content-Type"))
	old := parameters["boundary"]
	forged := `\r\n--` + old + `\r\nContent-Disposition: form-data; name=\"admin\"\r\n\r\nyes\r\n--` + old + `--\r\n`
	s.structured("upload", `{"file":{"text":"`+forged+`"},"note":"`+forged+`"}`)
	got := partsOf(t, u.last(t))
	if len(got) != 2 || !strings.HasPrefix(got[0], "file|file|") || !strings.HasPrefix(got[1], "note||text/markdown|\r\n--") || strings.Contains(u.last(t).header.Get("Content-Type"), old) {
		t.Errorf("got %q", got)
	}
	before := len(u.requests())
	for name, input := range map[string]string{
		"a line break in a name": `{"file":{"text":"x","name":"a\r\nX-Injected: 1"}}`,
		"a line feed in a name":  `{"file":{"text":"x","name":"a\nb"}}`,
		"a quote in a name":      `{"file":{"text":"x","name":"a\"; name=\"admin"}}`,
		"a backslash in a name":  `{"file":{"text":"x","name":"a\\"}}`,
		"a folder in a name":     `{"file":{"text":"x","name":"../../etc/passwd"}}`,
		"a name that climbs":     `{"file":{"text":"x","name":".."}}`,
		"a NUL in a name":        `{"file":{"text":"x","name":"a\u0000"}}`,
		"a separator in a name":  `{"file":{"text":"x","name":"a\u2028b"}}`,
		"a long name":            `{"file":{"text":"x","name":"` + strings.Repeat("n", 201) + `"}}`,
		"a line break in a type": `{"file":{"text":"x","type":"text/csv\r\nX-Injected: 1"}}`,
		"no type":                `{"file":{"text":"x","type":"csv"}}`,
		"a type of many":         `{"file":{"text":"x","type":"text/*"}}`,
		"a type not taken":       `{"file":{"text":"x"},"avatar":{"base64":"YQ==","type":"text/html"}}`,
		"a type not said":        `{"file":{"text":"x"},"photos":[{"base64":"YQ=="}]}`,
		"both":                   `{"file":{"text":"x","base64":"YQ=="}}`,
		"neither":                `{"file":{"name":"x"}}`,
		"no base64":              `{"file":{"base64":"%%%"}}`,
		"a text":                 `{"file":"x"}`,
		"too many":               `{"file":{"text":"x"},"tags":[` + strings.TrimSuffix(strings.Repeat(`"a",`, 300), ",") + `]}`,
	} {
		if _, err := s.tool("upload", input); !fault.HasCode(err, fault.InvalidArguments) || len(fault.Of(err).Details) != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(u.requests()) - before; n != 0 {
		t.Errorf("%d requests got through", n)
	}
}

func TestModelIsToldHowToGiveAFile(t *testing.T) {
	s := serve(t, newUpstream(t, answersJSON(`{}`)), keyAuth, uploadsSpec(""))
	def, _ := s.def.Tool("upload")
	schema := string(def.InputSchema)
	for _, want := range []string{`"file":{"type":"object","description":"The report.\nGive the content as text, or as base64 if it is binary: one of the two."`, `"base64":{"type":"string","contentEncoding":"base64"`,
		`"enum":["image/png","image/jpeg"]`, `The file's media type: image/*.`, `"page":{"type":"string"`, `"seal":{"type":"string"}`, `"required":["file"]`} {
		if !strings.Contains(schema, want) {
			t.Errorf("no %s in %s", want, schema)
		}
	}
	def, _ = s.def.Tool("xml")
	if !strings.Contains(string(def.InputSchema), "It is sent as application/xml.") {
		t.Errorf("%s", def.InputSchema)
	}
	def, _ = s.def.Tool("raw")
	if strings.Contains(string(def.InputSchema), `"name":{`) {
		t.Errorf("a name is asked for that is not sent: %s", def.InputSchema)
	}
}

func TestUploadIsNotSentTwice(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"no answer": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"an error":  answers(http.StatusBadGateway, "", ""),
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		},
	} {
		u := newUpstream(t, answer)
		s := serve(t, u, keyAuth+"redirects: 3\nretries: 5\n", uploadsSpec(""))
		res, err := s.tool("upload", `{"file":{"text":"x"}}`)
		if err == nil && !res.Tool.IsError {
			t.Errorf("%s: %+v", name, res)
		}
		if name == "no answer" && !fault.HasCode(err, fault.OutcomeUnknown) {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(u.requests()); n != 1 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
}

func TestBodiesThatAreNoForm(t *testing.T) {
	u := newUpstream(t, answersJSON(`{}`))
	s := serve(t, u, keyAuth, uploadsSpec(""))
	for _, c := range []struct{ tool, input, media, body string }{
		{"raw", `{"body":{"base64":"AP8="}}`, "application/octet-stream", "\x00\xff"},
		{"raw", `{"body":{"text":"t"}}`, "application/octet-stream", "t"},
		{"picture", `{"body":{"base64":"YQ==","type":"image/jpeg"}}`, "image/jpeg", "a"},
		{"xml", `{"body":"<a>\r\n</a>"}`, "application/xml", "<a>\r\n</a>"},
		{"plain", `{"body":"hé"}`, "text/plain", "hé"},
		{"form", `{"json":{"b":1,"a":[2]},"joined":["x","y z"],"piped":["p","q"],"each":["1","2"],"deep":{"k":{"l":"m"}},"url":"https://x.example/?a=[1]&b","plain":"a/b"}`,
			"application/x-www-form-urlencoded", "json=%7B%22b%22%3A1%2C%22a%22%3A%5B2%5D%7D&joined=x,y%20z&piped=p%7Cq&each=1&each=2&deep[k][l]=m&url=https://x.example/?a%3D[1]%26b&plain=a%2Fb"},
	} {
		s.structured(c.tool, c.input)
		if got := u.last(t); got.header.Get("Content-Type") != c.media || got.body != c.body {
			t.Errorf("%s: %s %q\nwant %s %q", c.tool, got.header.Get("Content-Type"), got.body, c.media, c.body)
		}
	}
	if _, err := s.tool("picture", `{"body":{"base64":"YQ==","type":"image/gif"}}`); !fault.HasCode(err, fault.InvalidArguments) {
		t.Errorf("%v", err)
	}
}

func TestFilesOfToolsByHand(t *testing.T) {
	u := newUpstream(t, answersJSON(`{}`))
	s := serve(t, u, keyAuth, `
tools:
- name: send
  description: Sends a report with its pictures.
  request: {method: POST, path: "/reports/{id}", content_type: multipart/form-data, body: {title: "Report {id}", report: "{report}", pictures: "{pictures}", about: {id: "{id}", kind: fixed}}}
  parameters:
  - {name: id, type: integer, required: true}
  - {name: report, type: file, accept: [application/pdf], required: true}
  - {name: pictures, type: array, items: file, accept: [image/*], max_items: 2}
- name: loose
  description: Sends what it is given.
  request: {method: POST, path: /loose, content_type: multipart/form-data}
  parameters: [{name: a, type: string}, {name: f, type: file}]
- name: put
  description: Puts a file.
  request: {method: PUT, path: /file, body: "{f}"}
  parameters: [{name: f, type: file, required: true}]
- name: csv
  description: Puts rows.
  request: {method: PUT, path: /csv, content_type: text/csv, body: "{rows}"}
  parameters: [{name: rows, type: string, required: true}]
`)
	s.structured("send", `{"id":7,"report":{"base64":"JVBERg==","name":"r.pdf"},"pictures":[{"base64":"YQ==","type":"image/png"},{"base64":"Yg==","type":"image/webp"}]}`)
	want := []string{"title|||Report 7", "report|r.pdf|application/pdf|%PDF", "pictures|file|image/png|a", "pictures|file|image/webp|b", `about||application/json|{"id":7,"kind":"fixed"}`}
	if got := partsOf(t, u.last(t)); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	s.structured("loose", `{"a":"x","f":{"text":"y"}}`)
	if got := partsOf(t, u.last(t)); !slices.Equal(got, []string{"a|||x", "f|file|text/plain; charset=utf-8|y"}) {
		t.Errorf("got %q", got)
	}
	s.structured("put", `{"f":{"base64":"AA==","type":"application/zip"}}`)
	if got := u.last(t); got.header.Get("Content-Type") != "application/zip" || got.body != "\x00" {
		t.Errorf("%v", got)
	}
	s.structured("csv", `{"rows":"a,b"}`)
	if got := u.last(t); got.header.Get("Content-Type") != "text/csv" || got.body != "a,b" {
		t.Errorf("%v", got)
	}
	for input, pointer := range map[string]string{
		`{"id":7}`: "/report", `{"id":7,"report":{"base64":"YQ==","type":"text/html"}}`: "/report",
		`{"id":7,"report":{"base64":"YQ=="},"pictures":[{"text":"a","type":"image/png"},{"text":"b"}]}`: "/pictures",
	} {
		if _, err := s.tool("send", input); !fault.HasCode(err, fault.InvalidArguments) || fault.Of(err).Details[0].Pointer != pointer {
			t.Errorf("%s: %v", input, err)
		}
	}
}
