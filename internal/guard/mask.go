package guard

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode/utf8"
)

// mask hides what persons are known by, in any text: enough stays to tell two
// apart, and never enough to use. Of what overlaps, the first kind speaks.
func (a *application) mask(sc *scan, name string) {
	p := a.policy
	put := func(kind string, from, to int, with string) {
		for _, s := range sc.spans {
			if from < s.end && s.start < to {
				return // a credential, or another kind
			}
		}
		count(&a.report.Masked, kind)
		sc.spans = append(sc.spans, span{from, to, with})
	}
	s := sc.view
	if p.email {
		emails(s, func(from, to int) { put("email", from, to, maskEmail(s[from:to])) })
	}
	if p.digits && hasDigits(s, 4) {
		for i := 0; i < len(s); {
			next := i + 1
			if to := timeAt(s, i); to > 0 {
				i = to
				continue
			}
			if kind, to := a.number(s, i, name); kind != "" {
				put(kind, i, to, maskNumber(kind, s[i:to]))
				next = to
			}
			i = next
		}
	}
	for _, c := range p.patterns {
		for _, m := range c.re.FindAllStringIndex(s, -1) {
			if m[1] > m[0] {
				put(c.name, m[0], m[1], "[masked: "+c.name+"]")
			}
		}
	}
}

func hasDigits(s string, n int) bool {
	for i := range len(s) {
		if s[i]-'0' < 10 {
			if n--; n == 0 {
				return true
			}
		}
	}
	return false
}

// number finds what begins at i. Only what stands free is looked at: a part of
// a longer number or word is something else.
func (a *application) number(s string, i int, name string) (kind string, to int) {
	c := s[i]
	digit := c-'0' < 10
	if !digit && c != '+' && c != '(' && !('A' <= c && c <= 'Z') && !('a' <= c && c <= 'z') {
		return "", 0
	}
	if i > 0 && c != '(' && (alnum[s[i-1]] || digit && (s[i-1] == '.' || s[i-1] == ',') && i > 1 && s[i-2]-'0' < 10) {
		return "", 0
	}
	p := a.policy
	if p.iban && !digit {
		if to = ibanAt(s, i); to > 0 {
			return "iban", to
		}
	}
	if p.card && digit {
		if to = cardAt(s, i); to > 0 {
			return "card", to
		}
	}
	if p.nationalID {
		if to = nationalIDAt(s, i, name); to > 0 {
			return "national_id", to
		}
	}
	if p.phone && (digit || c == '+' || c == '(') {
		if to = a.phoneAt(s, i, name); to > 0 {
			return "phone", to
		}
	}
	return "", 0
}

// timeAt is a time as machines write it, which is on every row of some lists:
// 2026-11-20, with or without 10:00:00.5+01:00.
func timeAt(s string, i int) int {
	if i > 0 && alnum[s[i-1]] || !fits(s, i, "dddd-dd-dd") {
		return 0
	}
	i += len("dddd-dd-dd")
	if i < len(s) && (s[i] == 'T' || s[i] == ' ') && fits(s, i+1, "dd:dd") {
		i += len("Tdd:dd")
		if fits(s, i, ":dd") {
			if i += len(":dd"); i < len(s) && s[i] == '.' {
				i = run(s, i+1, digitChars)
			}
		}
		switch {
		case i < len(s) && s[i] == 'Z':
			i++
		case fits(s, i, "+dd:dd") || fits(s, i, "-dd:dd"):
			i += len("+dd:dd")
		}
	}
	if i < len(s) && alnum[s[i]] {
		return 0
	}
	return i
}

// fits compares with a form in which d is any digit.
func fits(s string, i int, form string) bool {
	if i+len(form) > len(s) {
		return false
	}
	for k := range len(form) {
		if form[k] == 'd' && s[i+k]-'0' > 9 || form[k] != 'd' && form[k] != s[i+k] {
			return false
		}
	}
	return true
}

// emails finds addresses by their @.
func emails(s string, f func(from, to int)) {
	until := 0
	for at := strings.IndexByte(s, '@'); at >= 0; {
		from, to := at, at+1
		for from > until && at-from < 64 && (s[from-1] >= 0x80 || localChars[s[from-1]]) {
			from--
		}
		for from < at && (s[from] == '.' || s[from] == '-' || s[from] == '\'') {
			from++
		}
		dot := -1
		for to < len(s) && to-at < 254 && (domainChars[s[to]] || s[to] >= 0x80) {
			if s[to] == '.' {
				dot = to
			}
			to++
		}
		for to > at+1 && (s[to-1] == '.' || s[to-1] == '-') {
			if to--; s[to] == '.' {
				dot = strings.LastIndexByte(s[at:to], '.')
				if dot >= 0 {
					dot += at
				}
			}
		}
		if from < at && dot > at+1 && to-dot > 2 {
			f(from, to)
			until = to
		} else {
			until = at + 1
		}
		next := strings.IndexByte(s[until:], '@')
		if next < 0 {
			return
		}
		at = until + next
	}
}

var (
	localChars  = chars("a-zA-Z0-9.!#$&'*+=?^_{|}~%-")
	domainChars = chars("a-zA-Z0-9.-")
)

// maskEmail keeps the first letter and the domain.
func maskEmail(s string) string {
	at := strings.LastIndexByte(s, '@')
	_, n := utf8.DecodeRuneInString(s)
	return s[:min(n, at)] + "***" + s[at:]
}

func maskNumber(kind, s string) string {
	plain := strings.Map(func(r rune) rune {
		if r < 0x80 && alnum[byte(r)] {
			return r
		}
		return -1
	}, s)
	last := func(n int) string { return plain[max(0, len(plain)-n):] }
	switch kind {
	case "card":
		return "**** **** **** " + last(4)
	case "iban":
		return strings.ToUpper(plain[:2]) + "** **** **** " + last(4)
	case "phone":
		return "***" + last(2)
	}
	return "***" + last(2)
}

// whole masks the value of a field of mask_fields.
func (a *application) whole(rule, value string) string {
	count(&a.report.Masked, "field")
	switch rule {
	case "partial":
		if from, to, ok := wholeEmail(value); ok {
			return maskEmail(value[from:to])
		}
		n := utf8.RuneCountInString(value)
		if n < 6 {
			return "***"
		}
		runes := []rune(value)
		keep := min(n/4, 4)
		return "***" + string(runes[n-keep:])
	case "hash":
		mac := hmac.New(sha256.New, a.policy.key[:])
		mac.Write([]byte(value))
		return "hash:" + hex.EncodeToString(mac.Sum(nil)[:10])
	}
	return "[hidden]"
}

func wholeEmail(s string) (from, to int, ok bool) {
	emails(s, func(f, t int) { from, to, ok = f, t, f == 0 && t == len(s) })
	return from, to, ok
}

// cardAt is a card's number that begins at i: 13 to 19 digits of a known
// issuer's range with Luhn's check digit, together or in the groups in which
// cards are printed. A UUID or an order's number is in none of them.
func cardAt(s string, i int) int {
	var digits [19]byte
	var groups []int
	var sep byte
	n, last := 0, i
	for last < len(s) && n < len(digits) {
		c := s[last]
		switch {
		case c-'0' < 10:
			digits[n] = c - '0'
			n++
			if len(groups) == 0 {
				groups = append(groups, 0)
			}
			groups[len(groups)-1]++
			last++
			continue
		case (c == ' ' || c == '-') && (sep == 0 || sep == c) && last+1 < len(s) && s[last+1]-'0' < 10 && len(groups) < 5 && groups[len(groups)-1] >= 4:
			sep = c
			groups = append(groups, 0)
			last++
			continue
		}
		break
	}
	for {
		if n >= 13 && (last == len(s) || !alnum[s[last]]) && cardShape(groups) && cardRange(digits[:n]) && luhn(digits[:n]) {
			return last
		}
		if len(groups) < 2 { // what follows after a space may be something else
			return 0
		}
		last -= groups[len(groups)-1] + 1
		n -= groups[len(groups)-1]
		groups = groups[:len(groups)-1]
	}
}

func cardShape(groups []int) bool {
	switch len(groups) {
	case 1:
		return true
	case 3:
		return groups[0] == 4 && groups[1] == 6 && (groups[2] == 5 || groups[2] == 4)
	case 4, 5:
		return groups[0] == 4 && groups[1] == 4 && groups[2] == 4 && groups[3] <= 4 && (len(groups) == 4 || groups[4] <= 3)
	}
	return false
}

func cardRange(d []byte) bool {
	num := func(n int) (v int) {
		for _, c := range d[:n] {
			v = v*10 + int(c)
		}
		return v
	}
	n := len(d)
	two, four := num(2), num(4)
	switch {
	case d[0] == 4:
		return n == 13 || n == 16 || n == 19
	case two >= 51 && two <= 55, four >= 2221 && four <= 2720:
		return n == 16
	case two == 34, two == 37:
		return n == 15
	case four == 6011, two == 65, num(3) >= 644 && num(3) <= 649, two == 62, two == 81:
		return n >= 16
	case four >= 3528 && four <= 3589:
		return n >= 16
	case num(3) >= 300 && num(3) <= 305, two == 36, two == 38, two == 39:
		return n >= 14
	case two == 50, two >= 56 && two <= 58, two == 63, two == 67:
		return n >= 16
	}
	return false
}

func luhn(d []byte) bool {
	sum := 0
	for i := range d {
		v := int(d[len(d)-1-i])
		if i%2 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

// ibanLength is by country, from the SWIFT registry.
var ibanLength = map[string]int{
	"AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27, "BR": 29, "BY": 28, "CH": 21, "CR": 22,
	"CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22,
	"GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30,
	"KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27,
	"MT": 31, "MU": 30, "NI": 28, "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "RU": 33,
	"SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29,
	"VA": 22, "VG": 24, "XK": 20, "YE": 30,
}

// ibanAt is an IBAN that begins at i, together or in groups, by its country's
// length and the check digits of ISO 7064 mod 97-10.
func ibanAt(s string, i int) int {
	if i+4 > len(s) || !alnum[s[i+1]] || s[i+2]-'0' > 9 || s[i+3]-'0' > 9 {
		return 0
	}
	want, ok := ibanLength[strings.ToUpper(s[i:i+2])]
	if !ok {
		return 0
	}
	var flat [34]byte
	n, j := 0, i
	for j < len(s) && n < want {
		c := s[j]
		if c == ' ' || c == '-' {
			if n == 0 || s[j-1] == ' ' || s[j-1] == '-' {
				return 0
			}
			j++
			continue
		}
		if !alnum[c] {
			return 0
		}
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		flat[n] = c
		n++
		j++
	}
	if n < want || j < len(s) && alnum[s[j]] {
		return 0
	}
	rest := 0
	for _, c := range slices.Concat(flat[4:want], flat[:4]) {
		if c <= '9' {
			rest = (rest*10 + int(c-'0')) % 97
		} else {
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	if rest != 1 {
		return 0
	}
	return j
}
