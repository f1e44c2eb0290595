package guard

import (
	"strings"

	"github.com/nyaruka/phonenumbers"
)

// A phone number with its country in front is told by libphonenumber's tables.
// One without is told by its form where that is unmistakable, or by the name of
// its field. Times, amounts and the numbers of orders are of none of these.

// maxPhones bounds how often a result asks the tables, at 20 µs each. What is
// written like an international number counts as one from there on.
const maxPhones = 500

func (a *application) phoneAt(s string, i int, name string) int {
	switch {
	case s[i] == '+':
		return a.international(s, i, i+1, "+")
	case strings.HasPrefix(s[i:], "00") && i+2 < len(s) && s[i+2]-'1' < 9:
		if to := a.international(s, i, i+2, "+"); to > 0 && strings.ContainsAny(s[i:to], " -/(") {
			return to
		}
	}
	if to := northAmerican(s, i); to > 0 {
		return to
	}
	if to := a.trunk(s, i); to > 0 {
		return to
	}
	if phoneNames.any(name) && s[i]-'0' < 10 || phoneNames.any(name) && s[i] == '(' {
		if ends := groupEnds(s, i, 15); len(ends) > 0 {
			if e := ends[len(ends)-1]; e.digits >= 7 {
				return e.at
			}
		}
	}
	return 0
}

var phoneNames = newMatcher([]string{"phone", "mobile", "cell", "telefon", "fax", "handy", "whatsapp", "tel_", "_tel"})

// international looks for the longest number from i on that the tables know.
func (a *application) international(s string, i, body int, prefix string) int {
	ends := groupEnds(s, body, 15)
	for k := len(ends) - 1; k >= 0; k-- {
		e := ends[k]
		if e.digits < 7 {
			break
		}
		if a.phones++; a.phones > maxPhones {
			return e.at
		}
		n, err := phonenumbers.Parse(prefix+s[body:e.at], "ZZ")
		if err == nil && phonenumbers.IsValidNumber(n) {
			return e.at
		}
	}
	return 0
}

type groupEnd struct{ at, digits int }

// groupEnds are the places where a number that begins at i may end: after each
// group of digits, up to so many of them.
func groupEnds(s string, i, most int) (ends []groupEnd) {
	digits, seps := 0, 0
	for j := i; j <= len(s); j++ {
		if j < len(s) && s[j]-'0' < 10 {
			if digits++; digits > most {
				return ends
			}
			seps = 0
			continue
		}
		if digits > 0 && seps == 0 && (j == len(s) || !alnum[s[j]] && s[j] != '_') {
			ends = append(ends, groupEnd{j, digits})
		}
		if j == len(s) || strings.IndexByte(" -./()", s[j]) < 0 {
			return ends
		}
		if seps++; seps > 3 {
			return ends
		}
	}
	return ends
}

// northAmerican is (650) 253-0000, 650-253-0000 or 1-650-253-0000.
func northAmerican(s string, i int) int {
	j := i
	if strings.HasPrefix(s[j:], "1-") || strings.HasPrefix(s[j:], "1.") || strings.HasPrefix(s[j:], "1 ") {
		j += 2
	}
	open := j < len(s) && s[j] == '('
	if open {
		j++
	}
	digits := func(n int, first byte) bool {
		if j+n > len(s) || s[j] < first {
			return false
		}
		for k := range n {
			if s[j+k]-'0' > 9 {
				return false
			}
		}
		j += n
		return true
	}
	sep := func(set string) byte {
		if j < len(s) && strings.IndexByte(set, s[j]) >= 0 {
			j++
			return s[j-1]
		}
		return 0
	}
	if !digits(3, '2') {
		return 0
	}
	if open && sep(")") == 0 {
		return 0
	}
	first := sep("-. ")
	if first == 0 && !open || !digits(3, '2') {
		return 0
	}
	second := sep("-. ")
	if second == 0 || !open && second != first || !digits(4, '0') {
		return 0
	}
	if first == ' ' && !open && second == ' ' { // three numbers in a row
		return 0
	}
	if j < len(s) && (alnum[s[j]] || (s[j] == '-' || s[j] == '.') && j+1 < len(s) && alnum[s[j+1]]) {
		return 0
	}
	return j
}

// trunkRegions are asked for a number that begins with a single 0.
var trunkRegions = []string{"GB", "DE", "FR", "NL", "AT", "CH", "BE", "AU"}

// trunk is a national number such as 030 901820 or 020 7946 0018, in groups.
func (a *application) trunk(s string, i int) int {
	at := i
	if s[at] == '(' {
		at++
	}
	if at+1 >= len(s) || s[at] != '0' || s[at+1]-'1' > 8 {
		return 0
	}
	ends := groupEnds(s, i, 12)
	for k := len(ends) - 1; k >= 0 && ends[k].digits >= 9; k-- {
		number := s[i:ends[k].at]
		if !strings.ContainsAny(number, " -/(") || strings.Contains(number, ".") && !strings.ContainsAny(number, " /(") {
			continue
		}
		if looksLikeDate(number) {
			return 0
		}
		for _, region := range trunkRegions {
			if a.phones++; a.phones > maxPhones {
				return ends[k].at
			}
			if n, err := phonenumbers.Parse(number, region); err == nil && phonenumbers.IsValidNumberForRegion(n, region) {
				return ends[k].at
			}
		}
	}
	return 0
}

// looksLikeDate holds of 01.02.2026 and 01/02/2026 with what follows.
func looksLikeDate(s string) bool {
	return len(s) >= 10 && s[2] == s[5] && strings.IndexByte("./-", s[2]) >= 0
}
