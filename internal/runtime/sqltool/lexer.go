package sqltool

import (
	"fmt"
	"strings"
)

// parsed is a statement with its parameters numbered. pieces and names
// alternate: the text before each parameter, and after the last one.
type parsed struct {
	pieces []string
	names  []string // in order of appearance, with repetitions
	first  string   // the first word, in lower case; "(" for a parenthesis
}

// syntaxError is at a byte offset of the statement.
type syntaxError struct {
	offset int
	reason string
	fix    string
}

func (e *syntaxError) Error() string { return e.reason }

// parse finds the `:name` parameters of one statement. It knows just as much of
// SQL as it takes to not look inside of literals, quoted names, dollar quotes
// and comments, and to tell a parameter from a `::` cast, a `:=` and the bound
// of an array slice. Whether the statement makes sense is for Postgres to say.
func parse(sql string) (*parsed, error) {
	l := &lexer{src: sql}
	p := &parsed{}
	begin, ended := 0, -1
	for l.pos < len(sql) {
		start := l.pos
		kind, err := l.next()
		if err != nil {
			return nil, err
		}
		if kind == space {
			continue
		}
		if ended >= 0 {
			return nil, &syntaxError{start, "is more than one statement", "keep one; several steps that belong together are one WITH"}
		}
		switch kind {
		case semicolon:
			ended = start
		case positional:
			return nil, &syntaxError{start, fmt.Sprintf("names the parameter %s by its position", sql[start:l.pos]), "declare it under parameters and write :name"}
		case named:
			p.pieces = append(p.pieces, sql[begin:start])
			p.names = append(p.names, sql[start+1:l.pos])
			begin = l.pos
		}
		if p.first == "" && kind != semicolon {
			p.first = strings.ToLower(sql[start:l.pos])
		}
	}
	if ended < 0 {
		ended = len(sql)
	}
	p.pieces = append(p.pieces, sql[begin:max(begin, ended)])
	if p.first == "" {
		return nil, &syntaxError{0, "is empty", "write one SQL statement"}
	}
	return p, nil
}

type tokenKind int

const (
	space  tokenKind = iota // and comments
	word                    // keyword, name or number
	quoted                  // literal, quoted name or dollar quote
	named                   // :name
	positional
	semicolon
	other
)

type lexer struct {
	src string
	pos int
}

func (l *lexer) peek(n int) byte {
	if l.pos+n < len(l.src) {
		return l.src[l.pos+n]
	}
	return 0
}

// next takes one token and leaves pos after it.
func (l *lexer) next() (tokenKind, error) {
	switch c := l.peek(0); {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v':
		l.pos++
		return space, nil
	case c == '-' && l.peek(1) == '-':
		if i := strings.IndexAny(l.src[l.pos:], "\r\n"); i >= 0 {
			l.pos += i
		} else {
			l.pos = len(l.src)
		}
		return space, nil
	case c == '/' && l.peek(1) == '*':
		return space, l.comment()
	case c == '\'':
		return quoted, l.literal(false)
	case c == '"':
		return quoted, l.until('"', "quoted name")
	case (c == 'e' || c == 'E') && l.peek(1) == '\'':
		l.pos++
		return quoted, l.literal(true)
	case isNameStart(c):
		for isName(l.peek(0)) || l.peek(0) == '$' {
			l.pos++
		}
		return word, nil
	case isDigit(c):
		// A name may not follow a number at once, but `1e5`, `0x1F` and `1_000` are one.
		for isName(l.peek(0)) || l.peek(0) == '.' {
			l.pos++
		}
		return word, nil
	case c == '$':
		return l.dollar()
	case c == ':':
		return l.colon(), nil
	case c == ';':
		l.pos++
		return semicolon, nil
	case c == 0:
		return other, &syntaxError{l.pos, "holds a NUL character", "remove it"}
	}
	l.pos++
	return other, nil
}

// comment takes a block comment; they nest.
func (l *lexer) comment() error {
	start, depth := l.pos, 0
	for l.pos < len(l.src) {
		switch {
		case l.peek(0) == '/' && l.peek(1) == '*':
			depth++
			l.pos += 2
		case l.peek(0) == '*' && l.peek(1) == '/':
			depth--
			l.pos += 2
			if depth == 0 {
				return nil
			}
		default:
			l.pos++
		}
	}
	return &syntaxError{start, "has a comment that does not end", "close it with */"}
}

// literal takes '…', where ” is a quote, and \ escapes in an E'…'. Everything
// else that begins with letters and a quote (B, X, N, U&) follows the first rule.
func (l *lexer) literal(escapes bool) error {
	if !escapes {
		return l.until('\'', "text literal")
	}
	start := l.pos
	for l.pos++; l.pos < len(l.src); l.pos++ {
		switch l.peek(0) {
		case '\\':
			l.pos++
		case '\'':
			if l.peek(1) != '\'' {
				l.pos++
				return nil
			}
			l.pos++
		}
	}
	l.pos = len(l.src)
	return &syntaxError{start, "has a text literal that does not end", "close it with '"}
}

func (l *lexer) until(quote byte, what string) error {
	start := l.pos
	for l.pos++; l.pos < len(l.src); l.pos++ {
		if l.peek(0) != quote {
			continue
		}
		if l.peek(1) != quote {
			l.pos++
			return nil
		}
		l.pos++
	}
	l.pos = len(l.src)
	return &syntaxError{start, "has a " + what + " that does not end", "close it with " + string(quote)}
}

// dollar takes $tag$…$tag$, or $1.
func (l *lexer) dollar() (tokenKind, error) {
	start := l.pos
	end := l.pos + 1
	if end < len(l.src) && isDigit(l.src[end]) {
		for end < len(l.src) && isDigit(l.src[end]) {
			end++
		}
		l.pos = end
		return positional, nil
	}
	if end < len(l.src) && isNameStart(l.src[end]) {
		for end < len(l.src) && isName(l.src[end]) {
			end++
		}
	}
	if end >= len(l.src) || l.src[end] != '$' {
		l.pos++
		return other, nil
	}
	tag := l.src[l.pos : end+1]
	i := strings.Index(l.src[end+1:], tag)
	if i < 0 {
		l.pos = len(l.src)
		return quoted, &syntaxError{start, "has a dollar quote that does not end", "close it with " + tag}
	}
	l.pos = end + 1 + i + len(tag)
	return quoted, nil
}

// colon takes `::`, `:=`, `:name` or a lone `:`.
func (l *lexer) colon() tokenKind {
	switch c := l.peek(1); {
	case c == ':' || c == '=':
		l.pos += 2
	case isNameStart(c) && c < 0x80:
		for l.pos++; isName(l.peek(0)) && l.peek(0) < 0x80; l.pos++ {
		}
		return named
	default:
		l.pos++
	}
	return other
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isNameStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}
func isName(c byte) bool { return isNameStart(c) || isDigit(c) }
