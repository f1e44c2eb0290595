package guard

import (
	"regexp"
	"slices"
	"strings"
)

// nationalID is a number by which a state knows a person. Its form is looked
// for at a place, and its check digits decide where it has some. named: the
// form alone is that of many numbers, so that the field or the words before it
// must say what it is.
type nationalID struct {
	runs  []int // how many digits may stand at its beginning: a look before the form
	form  *regexp.Regexp
	check func(flat string) bool
	named []string
}

func form(expr string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + expr + `)`) }

var nationalIDs = []nationalID{
	{runs: []int{3}, form: form(`\d{3}-\d{2}-\d{4}`), check: ssn},                                                                                    // US SSN
	{runs: []int{9}, form: form(`\d{9}`), check: ssn, named: []string{"ssn", "social security", "social_security"}},                                  //
	{runs: []int{0}, form: form(`[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]`), check: nino},                                     // UK NINO
	{runs: []int{11, 1}, form: form(`[1-9]\d{10}|[1-9]\d \d{3} \d{3} \d{3}`), check: steuerID},                                                       // DE Steuer-ID
	{runs: []int{1, 3, 5, 13, 15, 7, 10}, form: form(`[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}`), check: nir},    // FR NIR
	{runs: []int{8, 0}, form: form(`\d{8}-?[A-HJ-NP-TV-Z]|[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z]`), check: dni},                                                // ES DNI, NIE
	{runs: []int{0}, form: form(`[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]`), check: codiceFiscale},                                              // IT
	{runs: []int{11}, form: form(`\d{11}`), check: pesel},                                                                                            // PL PESEL
	{runs: []int{6, 8}, form: form(`(?:19|20)?\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[-+]\d{4}`), check: personnummer},                         // SE
	{runs: []int{6}, form: form(`(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])\d{2}[-+A]\d{3}[0-9A-FHJ-NPR-Y]`), check: hetu},                             // FI
	{runs: []int{2}, form: form(`\d{2}\.(?:0[1-9]|1[0-2])\.(?:0[1-9]|[12]\d|3[01])-\d{3}\.\d{2}`), check: rijksregister},                             // BE
	{runs: []int{3, 13}, form: form(`756\.\d{4}\.\d{4}\.\d{2}|756\d{10}`), check: ean13},                                                             // CH AHV
	{runs: []int{3}, form: form(`\d{3}\.\d{3}\.\d{3}-\d{2}`), check: cpf},                                                                            // BR CPF
	{runs: []int{9}, form: form(`\d{9}`), check: bsn, named: []string{"bsn", "burgerservice", "sofinummer"}},                                         // NL
	{runs: []int{10, 6}, form: form(`\d{6}-?\d{4}`), check: func(string) bool { return true }, named: []string{"cpr"}},                               // DK
	{runs: []int{4, 12, 8}, form: form(`\d{4} ?\d{4} ?\d{4}`), check: verhoeff, named: []string{"aadhaar", "aadhar"}},                                // IN
	{runs: []int{9, 3, 6}, form: form(`\d{3}[ -]?\d{3}[ -]?\d{3}`), check: luhnText, named: []string{"sin", "social insurance", "social_insurance"}}, // CA
	{runs: []int{13, 6}, form: form(`\d{6}-?[1-8]\d{6}`), check: func(string) bool { return true }, named: []string{"rrn", "jumin", "주민등록번호"}},       // KR
}

// idNames are the labels of those that need one.
var idNames = func() *matcher {
	var all []string
	for _, id := range nationalIDs {
		all = append(all, id.named...)
	}
	return newMatcher(all)
}()

// nationalIDAt is one that begins at i.
func nationalIDAt(s string, i int, name string) int {
	c := s[i]
	if c == '+' || c == '(' || 'a' <= c && c <= 'z' {
		return 0
	}
	there := s[i:min(len(s), i+24)]
	if !hasDigits(there, 6) {
		return 0
	}
	digits := run(there, 0, digitChars)
	label := ""
	if idNames.any(name) {
		label = name
	} else if near := s[max(0, i-24):i]; idNames.any(near) {
		label = near
	}
	label = strings.ToLower(label)
	for k := range nationalIDs {
		id := &nationalIDs[k]
		if !slices.Contains(id.runs, digits) {
			continue
		}
		if id.named != nil {
			named := false
			for _, n := range id.named {
				named = named || label != "" && strings.Contains(label, n)
			}
			if !named {
				continue
			}
		}
		m := id.form.FindStringIndex(there)
		if m == nil || i+m[1] < len(s) && (alnum[s[i+m[1]]] || s[i+m[1]] == '-' && i+m[1]+1 < len(s) && alnum[s[i+m[1]+1]]) {
			continue
		}
		if id.check(flat(there[:m[1]])) {
			return i + m[1]
		}
	}
	return 0
}

func flat(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || r == '.' || r == '-' || r == '+' {
			return -1
		}
		return r
	}, s)
}

func at(s string, i int) int { return int(s[i] - '0') }

func ssn(s string) bool {
	area := s[:3]
	return area != "000" && area != "666" && area[0] != '9' && s[3:5] != "00" && s[5:] != "0000"
}

func nino(s string) bool {
	switch s[:2] {
	case "BG", "GB", "NK", "KN", "TN", "NT", "ZZ":
		return false
	}
	return true
}

// steuerID: of the first ten digits one stands two or three times, and ISO 7064
// mod 11,10 gives the last.
func steuerID(s string) bool {
	var n [10]int
	product := 10
	for i := range 10 {
		d := at(s, i)
		n[d]++
		sum := (d + product) % 10
		if sum == 0 {
			sum = 10
		}
		product = sum * 2 % 11
	}
	twice, thrice := 0, 0
	for _, c := range n {
		switch {
		case c == 2:
			twice++
		case c == 3:
			thrice++
		case c > 3:
			return false
		}
	}
	check := 11 - product
	if check == 10 {
		check = 0
	}
	return twice+thrice == 1 && at(s, 10) == check
}

func mod(s string, m int) (r int) {
	for i := range len(s) {
		r = (r*10 + at(s, i)) % m
	}
	return r
}

func nir(s string) bool {
	body := strings.NewReplacer("2A", "19", "2B", "18").Replace(s[:13])
	return 97-mod(body, 97) == at(s, 13)*10+at(s, 14)
}

func dni(s string) bool {
	body := strings.NewReplacer("X", "0", "Y", "1", "Z", "2").Replace(s[:len(s)-1])
	return "TRWAGMYFPDXBNJZSQVHLCKE"[mod(body, 23)] == s[len(s)-1]
}

func codiceFiscale(s string) bool {
	odd := [36]int{1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23}
	sum := 0
	for i := range 15 {
		v := at(s, i)
		if s[i] >= 'A' {
			v = int(s[i]-'A') + 10
		}
		switch {
		case i%2 == 0:
			sum += odd[v]
		case v >= 10:
			sum += v - 10
		default:
			sum += v
		}
	}
	return byte('A'+sum%26) == s[15]
}

func pesel(s string) bool {
	sum := 0
	for i, w := range []int{1, 3, 7, 9, 1, 3, 7, 9, 1, 3} {
		sum += w * at(s, i)
	}
	month, day := (at(s, 2)*10+at(s, 3))%20, at(s, 4)*10+at(s, 5)
	return (10-sum%10)%10 == at(s, 10) && month >= 1 && month <= 12 && day >= 1 && day <= 31
}

func luhnText(s string) bool {
	d := make([]byte, len(s))
	for i := range d {
		d[i] = s[i] - '0'
	}
	return luhn(d)
}

func personnummer(s string) bool { return luhnText(s[len(s)-10:]) }

func hetu(s string) bool {
	body := s[:6] + s[len(s)-4:len(s)-1]
	return "0123456789ABCDEFHJKLMNPRSTUVWXY"[mod(body, 31)] == s[len(s)-1]
}

func rijksregister(s string) bool {
	check := at(s, 9)*10 + at(s, 10)
	return 97-mod(s[:9], 97) == check || 97-mod("2"+s[:9], 97) == check
}

func ean13(s string) bool {
	sum := 0
	for i := range 12 {
		sum += at(s, i) * (1 + 2*(i%2))
	}
	return (10-sum%10)%10 == at(s, 12)
}

func cpf(s string) bool {
	for n := 9; n <= 10; n++ {
		sum := 0
		for i := range n {
			sum += at(s, i) * (n + 1 - i)
		}
		if sum*10%11%10 != at(s, n) {
			return false
		}
	}
	return true
}

func bsn(s string) bool {
	sum := -at(s, 8)
	for i := range 8 {
		sum += at(s, i) * (9 - i)
	}
	return sum%11 == 0
}

func verhoeff(s string) bool {
	d := [10]string{"0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043", "8765932104", "9876543210"}
	p := [8]string{"0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258"}
	c := 0
	for i := range len(s) {
		c = at(d[c], at(p[i%8], at(s, len(s)-1-i)))
	}
	return c == 0
}
