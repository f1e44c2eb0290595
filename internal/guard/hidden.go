package guard

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Characters that are on no screen carry text from one machine to another past
// the person between them. Some have their use alone: a joiner in an emoji, a
// mark in Persian. Tags and overrides have none here, and neither has a run.

// hiddenWords are the beginnings of their UTF-8 forms.
var hiddenWords = []string{
	"\u200b", "\u200c", "\u200d", "\u200e", "\u200f", // zero width, marks
	"\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2066", "\u2067", "\u2068", "\u2069", // bidi
	"\u2060", "\u2061", "\u2062", "\u2063", "\u2064", "\ufeff", "\u180e", "\u00ad", "\u115f", "\u1160", "\u3164",
	"\xf3\xa0\x80", "\xf3\xa0\x81", // tags
	"\xf3\xa0\x84", "\xf3\xa0\x85", "\xf3\xa0\x86", "\xf3\xa0\x87", // variation selectors 17 to 256
	"\xef\xb8\x80", "\xef\xb8\x81", "\xef\xb8\x82", "\xef\xb8\x83", "\xef\xb8\x84", "\xef\xb8\x85", "\xef\xb8\x86", "\xef\xb8\x87",
}

// compatWords begin full-width and mathematical letters.
var compatWords = []string{"\xef\xbc", "\xef\xbd", "\xf0\x9d\x90", "\xf0\x9d\x91", "\xf0\x9d\x92", "\xf0\x9d\x93", "\xf0\x9d\x94", "\xf0\x9d\x95", "\xf0\x9d\x96", "\xf0\x9d\x97", "\xf0\x9d\x98", "\xf0\x9d\x99", "\xf0\x9d\x9a"}

type hiddenClass int

const (
	seen      hiddenClass = iota
	zeroWidth             // harmless alone
	override              // of the direction
	tag
	selector
)

func classOf(r rune) hiddenClass {
	switch {
	case r >= 0xE0000 && r <= 0xE007F:
		return tag
	case r >= 0xE0100 && r <= 0xE01EF, r >= 0xFE00 && r <= 0xFE0E:
		return selector
	case r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069:
		return override
	case r >= 0x200B && r <= 0x200F, r >= 0x2060 && r <= 0x2064, r == 0xFEFF, r == 0x180E, r == 0xAD, r == 0x115F, r == 0x1160, r == 0x3164:
		return zeroWidth
	}
	return seen
}

// strip makes the view of a text without what nobody sees.
func (sc *scan) strip(s string) {
	var b strings.Builder
	back := make([]int32, 0, len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if classOf(r) == seen {
			for j := range n {
				back = append(back, int32(i+j))
			}
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	if b.Len() < len(s) {
		sc.view, sc.back = b.String(), back
	}
}

const (
	shortRun = 3  // zero-width characters from here on are a message
	maxShown = 16 // characters of a run that are written out
)

// hidden makes visible what is hidden on purpose, and flags it.
func (a *application) hidden(s string) (shown []span) {
	if !a.policy.injections {
		return nil
	}
	var prev rune
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if classOf(r) == seen {
			prev = r
			i += n
			continue
		}
		start := i
		var run []rune
		worst := seen
		for i < len(s) {
			r, n := utf8.DecodeRuneInString(s[i:])
			c := classOf(r)
			if c == seen {
				break
			}
			worst = max(worst, c)
			run = append(run, r)
			i += n
		}
		if name := hiddenName(worst, run, prev); name != "" {
			a.flag(name)
			shown = append(shown, span{start, i, codePoints(run)})
		}
	}
	return shown
}

func hiddenName(worst hiddenClass, run []rune, prev rune) string {
	switch {
	case worst == override:
		return "bidi-override"
	case worst == tag && prev == 0x1F3F4 && len(run) <= 7 && run[len(run)-1] == 0xE007F:
		return "" // the flag of a region
	case worst == tag, worst == selector && len(run) >= shortRun:
		return "hidden-text"
	case len(run) >= shortRun:
		return "zero-width-run"
	}
	return ""
}

func codePoints(run []rune) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, r := range run {
		if i == maxShown {
			fmt.Fprintf(&b, " and %d more", len(run)-i)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "U+%04X", r)
	}
	b.WriteByte(']')
	return b.String()
}
