package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// output is how a command prints its result: for people, or for scripts.
type output string

var outputs = []string{"table", "json"}

func (o *output) String() string { return string(*o) }
func (o *output) Type() string   { return "format" }
func (o *output) Set(s string) error {
	if !slices.Contains(outputs, s) {
		return fmt.Errorf("write one of %s", strings.Join(outputs, ", "))
	}
	*o = output(s)
	return nil
}

// addTo gives a command the flag --output.
func (o *output) addTo(c *cobra.Command) {
	*o = "table"
	c.Flags().VarP(o, "output", "o", "table or json")
	// It fails for flags that are not there only.
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputs, cobra.ShellCompDirectiveNoFileComp))
}

// print writes v as JSON, or what table makes of it.
func (o output) print(w io.Writer, v any, table func(io.Writer)) error {
	if o == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	table(w)
	return nil
}

// table aligns columns. The last one is as long as it likes.
func table(w io.Writer, head []string, rows [][]string) {
	width := make([]int, len(head))
	for _, r := range append([][]string{head}, rows...) {
		for i, cell := range r {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, r := range append([][]string{head}, rows...) {
		var b strings.Builder
		for i, cell := range r {
			b.WriteString(cell)
			if i < len(r)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}
