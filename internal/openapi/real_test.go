package openapi

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"
	"time"
)

// TestRealDocuments reads all documents below a folder of the reader's own,
// OPENAPI_DOCUMENTS, and tells what is refused and what takes long.
func TestRealDocuments(t *testing.T) {
	folder := os.Getenv("OPENAPI_DOCUMENTS")
	if folder == "" {
		t.Skip("OPENAPI_DOCUMENTS is not set")
	}
	var documents, operations int
	refused := map[string]int{}
	names := regexp.MustCompile(`"[^"]*"|[0-9]+|of [A-Z]+ /\S*|[A-Z]+ /\S*:`)
	refuse := func(err error) { refused[names.ReplaceAllString(err.Error(), "…")]++ }
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".json" && filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		began := time.Now()
		d, err := Parse(text)
		if err != nil {
			refuse(err)
			return nil
		}
		documents++
		var usable []Summary
		for _, s := range d.Operations() {
			if op, err := d.Operation(s); err != nil {
				refuse(err)
			} else {
				InputSchema(op.Arguments)
				usable = append(usable, s)
			}
		}
		operations += len(usable)
		if took := time.Since(began); took > time.Second {
			t.Logf("%s: %d kB, %d operations, %s, %d MB looked at", filepath.Base(path), len(text)>>10, len(d.list), took.Round(time.Millisecond), d.far.work.Load()>>20)
		}
		sameAfterCut(t, d, usable[:min(10, len(usable))])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for text, n := range refused {
		t.Logf("%5d %.160s", n, text)
	}
	t.Logf("%d documents, %d operations", documents, operations)
}

// sameAfterCut holds that what is kept of a document makes the same tools.
func sameAfterCut(t *testing.T, d *Document, ops []Summary) {
	if len(ops) == 0 {
		return
	}
	pruned, err := d.Prune(ops)
	if err != nil {
		t.Errorf("%s: %v", d.Title, err)
		return
	}
	again := mustParse(t, string(pruned))
	for _, s := range ops {
		was, _ := d.Operation(s)
		is, err := again.Operation(s)
		if err != nil || string(InputSchema(was.Arguments)) != string(InputSchema(is.Arguments)) || string(was.Output) != string(is.Output) {
			t.Errorf("%s: %s is another one after the cut: %v", d.Title, s.Key(), err)
		}
	}
}

// TestRealDocument measures a document of the reader's own: OPENAPI_DOCUMENT.
func TestRealDocument(t *testing.T) {
	path := os.Getenv("OPENAPI_DOCUMENT")
	if path == "" {
		t.Skip("OPENAPI_DOCUMENT is not set")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var before, after, live runtime.MemStats
	measure := func(what string, f func()) {
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		f()
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		runtime.GC()
		runtime.ReadMemStats(&live)
		t.Logf("%-28s %8v  %5d MB allocated, %4d MB kept", what, took.Round(time.Millisecond), (after.TotalAlloc-before.TotalAlloc)>>20, (int64(live.HeapAlloc)-int64(before.HeapAlloc))>>20)
	}
	var d *Document
	measure("read", func() { d, err = Parse(text) })
	if err != nil {
		t.Fatal(err)
	}
	all := d.Operations()
	var bad, input, output, notes int
	convert := func(list []Summary) {
		bad, input, output, notes = 0, 0, 0, 0
		for _, s := range list {
			op, err := d.Operation(s)
			if err != nil {
				bad++
				if bad < 5 {
					t.Log(err)
				}
				continue
			}
			input += len(InputSchema(op.Arguments))
			output += len(op.Output)
			notes += len(op.Notes)
		}
	}
	measure("all operations", func() { convert(all) })
	t.Logf("%d operations, %d cannot be used, %d notes, schemas %d + %d kB", len(all), bad, notes, input>>10, output>>10)
	measure("ten operations", func() { convert(all[:min(10, len(all))]) })
	var pruned []byte
	measure("cut down to ten", func() { pruned, err = d.Prune(all[:min(10, len(all))]) })
	t.Logf("cut down to ten: %d kB, %v", len(pruned)>>10, err)
	sameAfterCut(t, d, all[:min(10, len(all))])
	measure("cut down to all", func() { pruned, err = d.Prune(all) })
	t.Logf("cut down to all: %d kB, %v", len(pruned)>>10, err)
}
