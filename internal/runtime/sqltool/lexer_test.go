package sqltool

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for sql, want := range map[string]string{
		`SELECT :a, :b2, :a`:                           "a b2 a",
		`SELECT ':a' || :b`:                            "b",
		`SELECT 'it''s :a' || :b`:                      "b",
		`SELECT E'\':a' || :b`:                         "b",
		`SELECT e'\\' || :b`:                           "b",
		`SELECT 'back\' || :b`:                         "b",
		`SELECT ":a", "x"":b", :c`:                     "c",
		`SELECT $$:a$$, $t$ $$ :b $t$, :c`:             "c",
		`SELECT a$b, :c, d$1`:                          "c",
		"SELECT 1 -- :a\n, :b":                         "b",
		`SELECT /* :a /* :b */ :c */ :d`:               "d",
		`SELECT now()::date, :a::int, :b :: text`:      "a b",
		`SELECT f(x := 1, y => :a)`:                    "a",
		`SELECT list[1:2], list[:a]`:                   "a",
		`SELECT U&'d\0061t:a', B'01', X'1F', n':b'`:    "",
		`SELECT '{"a":1}'::jsonb -> :key ? 'x'`:        "key",
		`SELECT 1e5, 0x1F, 1_000, 1.5, .5, :a`:         "a",
		`SELECT :a;`:                                   "a",
		"SELECT :a ; -- done\n /* really */":           "a",
		`SELECT ':' || :a || ':'`:                      "a",
		`SELECT $ü$ :a $ü$, :b`:                        "b",
		`SELECT täble$x.:a`:                            "a",
		`SELECT date ':a', interval ':b', :_c`:         "_c",
		`WITH x AS (SELECT :a) SELECT * FROM x`:        "a",
		`SELECT 1 AS "weird ; name", ';', $$;$$ /*;*/`: "",
	} {
		p, err := parse(sql)
		if err != nil {
			t.Errorf("%s: %v", sql, err)
			continue
		}
		if got := strings.Join(p.names, " "); got != want {
			t.Errorf("%s: parameters %q, want %q", sql, got, want)
		}
	}
	for sql, at := range map[string]int{
		`SELECT 1; SELECT 2`: 10, `SELECT 1;;`: 9, `SELECT 'x`: 7, `SELECT "x`: 7, `SELECT $$x`: 7, `SELECT $a$x$b$`: 7, `SELECT /* x /* */`: 7,
		`SELECT $1`: 7, `SELECT E'x\'`: 8, ``: 0, ` -- x`: 0, `;`: 0, "SELECT \x00": 7,
	} {
		_, err := parse(sql)
		var se *syntaxError
		if !errors.As(err, &se) || se.offset != at || se.fix == "" {
			t.Errorf("%q: %+v, want a problem at %d", sql, err, at)
		}
	}
}

// FuzzParse: whatever the statement is, its pieces and parameters together are
// the statement, so nothing is added, lost or moved.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`SELECT :a, ':b', ":c", $$:d$$ -- :e`, `SELECT E'\\'::text;`, `/* /* */ :a`, `:a:b::c:=:d`, "$a$ $b$ $a$ :x", `U&":x" :y`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		p, err := parse(sql)
		if err != nil {
			var se *syntaxError
			if !errors.As(err, &se) || se.offset < 0 || se.offset > len(sql) || se.reason == "" || se.fix == "" {
				t.Fatalf("%q: %#v", sql, err)
			}
			return
		}
		if len(p.pieces) != len(p.names)+1 {
			t.Fatalf("%q: %d pieces, %d names", sql, len(p.pieces), len(p.names))
		}
		var b strings.Builder
		for i, piece := range p.pieces {
			b.WriteString(piece)
			if i < len(p.names) {
				if p.names[i] == "" || !isNameStart(p.names[i][0]) {
					t.Fatalf("%q: parameter %q", sql, p.names[i])
				}
				b.WriteString(":" + p.names[i])
			}
		}
		rest, found := strings.CutPrefix(sql, b.String())
		if !found || (rest != "" && rest[0] != ';') {
			t.Fatalf("%q became %q", sql, b.String())
		}
	})
}
