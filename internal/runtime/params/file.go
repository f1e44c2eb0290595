package params

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// File is a file that was given: models have texts only, so that what is binary
// comes as base64.
type File struct {
	Name, Type string
	Content    []byte
}

const maxFileName = 200 // characters

var mediaPattern = regexp.MustCompile(`^[a-z]+/([a-z0-9!#$&^_.+-]{1,100}|\*)$`)

// MediaType gives a media type in its usual form, and whether it is one. Its second
// part may be *.
func MediaType(s string) (string, bool) {
	base, parameters, err := mime.ParseMediaType(s)
	if err != nil || !mediaPattern.MatchString(base) || len(s) > 200 {
		return "", false
	}
	s = mime.FormatMediaType(base, parameters)
	return s, s != ""
}

// FileSchema describes a file of some types, such as image/*; of any where there
// are none. named: its name is sent too.
func FileSchema(description string, types []string, named bool) Ordered {
	how := "Give the content as text, or as base64 if it is binary: one of the two."
	s := Ordered{{"type", "object"}, {"description", strings.TrimSpace(description + "\n" + how)}}
	properties := Ordered{
		{"text", Ordered{{"type", "string"}, {"description", "The content of a file that is text, as it is."}}},
		{"base64", Ordered{{"type", "string"}, {"contentEncoding", "base64"}, {"description", "The content of a file that is binary, in base64."}}},
	}
	if named {
		properties.Add("name", Ordered{{"type", "string"}, {"maxLength", maxFileName}, {"description", "The file's name without a folder, such as report.pdf."}})
	}
	wild := slices.ContainsFunc(types, wildcard)
	switch about := "The file's media type"; {
	case len(types) == 0:
		properties.Add("type", Ordered{{"type", "string"}, {"description", about + ", such as text/csv or application/pdf."}})
	case wild:
		properties.Add("type", Ordered{{"type", "string"}, {"description", about + ": " + strings.Join(types, ", ") + "."}})
	case len(types) > 1:
		properties.Add("type", Ordered{{"type", "string"}, {"enum", types}, {"description", about + "."}})
	}
	s.Add("properties", properties)
	if wild || len(types) > 1 {
		s.Add("required", []string{"type"})
	}
	s.Add("additionalProperties", false)
	return s
}

func wildcard(media string) bool { return strings.HasSuffix(media, "/*") }

// ReadFile reads a file that was given for a schema of FileSchema. The error says
// what is wrong with it, and nothing of its content.
func ReadFile(raw json.RawMessage, types []string) (f File, err error) {
	var given struct {
		Text   *string `json:"text"`
		Base64 *string `json:"base64"`
		Name   string  `json:"name"`
		Type   string  `json:"type"`
	}
	if err := json.Unmarshal(raw, &given); err != nil || len(raw) == 0 || raw[0] != '{' {
		return f, errors.New(`must be a file: an object such as {"text": "…", "name": "notes.txt"}`)
	}
	switch {
	case (given.Text == nil) == (given.Base64 == nil):
		return f, errors.New("must have its content in text or in base64, in one of the two")
	case given.Text != nil:
		f.Content = []byte(*given.Text)
	default:
		if f.Content, err = decodeBase64(*given.Base64); err != nil {
			return f, err
		}
	}
	if f.Name = given.Name; utf8.RuneCountInString(f.Name) > maxFileName || strings.ContainsFunc(f.Name, notInFileNames) || f.Name == "." || f.Name == ".." {
		return f, fmt.Errorf(`must have a name of at most %d characters without folders, quotes and line breaks`, maxFileName)
	}
	f.Type, err = fileType(given.Type, types, given.Text != nil)
	return f, err
}

func notInFileNames(r rune) bool {
	return r < ' ' || r == 0x7f || r == '/' || r == '\\' || r == '"' || r == '\u2028' || r == '\u2029' || r == utf8.RuneError
}

func decodeBase64(s string) ([]byte, error) {
	s = strings.NewReplacer("\n", "", "\r", "", " ", "", "=", "").Replace(s)
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil, errors.New("has a base64 that is none; give a file that is text as text")
	}
	return b, nil
}

// fileType is what a file is sent as.
func fileType(given string, types []string, text bool) (string, error) {
	if given == "" {
		switch {
		case len(types) == 1 && !wildcard(types[0]):
			return types[0], nil
		case len(types) > 0:
			return "", fmt.Errorf("must say its type: %s", strings.Join(types, ", "))
		case text:
			return "text/plain; charset=utf-8", nil
		}
		return "application/octet-stream", nil
	}
	media, ok := MediaType(given)
	if !ok || wildcard(media) {
		return "", errors.New("has a type that is no media type, such as application/pdf")
	}
	base, _, _ := strings.Cut(media, ";")
	for _, t := range types {
		t, _, _ = strings.Cut(t, ";")
		if t == base || wildcard(t) && strings.HasPrefix(base, strings.TrimSuffix(t, "*")) {
			return media, nil
		}
	}
	if len(types) > 0 {
		return "", fmt.Errorf("has a type that is not taken; it must be of %s", strings.Join(types, ", "))
	}
	return media, nil
}
