package httptool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/textproto"
	"strings"

	"latchkey/internal/openapi"
	"latchkey/internal/runtime/params"
)

const (
	maxParts = 200
	maxBody  = 8 << 20 // bytes of a multipart body; a call brings one of 1 MB at most
)

// encodeMultipart writes an object as multipart/form-data (RFC 7578): a part for
// each member, and for each entry of a list. Its boundary is made after the values
// are there, so that none of them can hold it.
func encodeMultipart(raw json.RawMessage, parts map[string]openapi.Part) (body []byte, contentType string, err error) {
	fields, object, err := fieldsOf(raw)
	if err != nil || !object {
		return nil, "", errors.New("the body must be an object, to be sent in parts")
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	n := 0
	for _, f := range fields {
		values := []field{{value: f.value}}
		if v := bytes.TrimSpace(f.value); len(v) > 0 && v[0] == '[' {
			if values, _, err = fieldsOf(v); err != nil {
				return nil, "", fmt.Errorf("%s %w", f.name, err)
			}
		}
		for _, one := range values {
			if n++; n > maxParts {
				return nil, "", fmt.Errorf("the body has more than %d parts", maxParts)
			}
			if err := writePart(w, f.name, bytes.TrimSpace(one.value), parts[f.name]); err != nil {
				return nil, "", fmt.Errorf("%s %w", f.name, err)
			}
			if b.Len() > maxBody {
				return nil, "", fmt.Errorf("the body is larger than %d MB", maxBody>>20)
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, "", err
	}
	return b.Bytes(), w.FormDataContentType(), nil
}

// writePart writes one value. What is null is not there.
func writePart(w *multipart.Writer, name string, raw json.RawMessage, p openapi.Part) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	h := textproto.MIMEHeader{}
	for k, v := range p.Headers {
		h.Set(k, v)
	}
	var content []byte
	disposition, media := `form-data; name="`+name+`"`, p.ContentType
	switch {
	case p.File:
		f, err := params.ReadFile(raw, p.Types)
		if err != nil {
			return err
		}
		if f.Name == "" {
			f.Name = "file" // many servers take a part without a name for no file
		}
		content, media = f.Content, f.Type
		disposition += `; filename="` + f.Name + `"`
	case raw[0] == '{' || raw[0] == '[':
		if content = raw; media == "" {
			media = openapi.JSON
		}
	case jsonMedia(media):
		content = raw
	default:
		s, err := plain(raw)
		if err != nil {
			return err
		}
		content = []byte(s)
	}
	h.Set("Content-Disposition", disposition)
	if media != "" {
		h.Set("Content-Type", media)
	}
	part, err := w.CreatePart(h)
	if err != nil {
		return err
	}
	_, err = part.Write(content)
	return err
}

// jsonMedia reports whether a text of this type is written as JSON, with quotes.
func jsonMedia(media string) bool {
	base, _, _ := strings.Cut(media, ";")
	return base == openapi.JSON || strings.HasSuffix(base, "+json")
}
