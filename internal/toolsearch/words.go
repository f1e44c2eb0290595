package toolsearch

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// maxWord bounds what is looked at of one word, maxText of a text.
const (
	maxWord = 40
	maxText = 16 << 10 // bytes
)

// wordsOf splits a text or a name into words in their plain form: without accents
// and endings, in lower case. Signs of writing without spaces are words themselves.
func wordsOf(s string) (words []string) {
	if len(s) > maxText {
		s = s[:maxText]
	}
	var word []rune
	end := func() {
		if len(word) > 0 {
			words = append(words, stem(strings.ToLower(string(word[:min(len(word), maxWord)]))))
			word = word[:0]
		}
	}
	for _, r := range norm.NFKD.String(strings.ToValidUTF8(s, " ")) {
		switch {
		case unicode.Is(unicode.Mn, r):
			continue // accents
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai):
			end()
			words = append(words, string(r))
			continue
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			end()
			continue
		}
		if n := len(word); n > 0 && (unicode.IsUpper(r) && unicode.IsLower(word[n-1]) || unicode.IsDigit(r) != unicode.IsDigit(word[n-1])) {
			end() // findCustomer, v2
		}
		word = append(word, r)
	}
	end()
	return words
}

// stem takes the commonest English endings off, so that refunds, refunded and
// refunding are one word. What it makes need not be one.
func stem(w string) string {
	for _, e := range []struct{ ending, instead string }{{"ies", "y"}, {"ied", "y"}, {"sses", "ss"}, {"ations", "at"}, {"ation", "at"}, {"ings", ""}, {"ing", ""}, {"ed", ""}, {"es", ""}, {"s", ""}, {"e", ""}} {
		rest, ok := strings.CutSuffix(w, e.ending)
		if !ok || len(rest) < 3 || e.ending == "s" && strings.HasSuffix(rest, "s") {
			continue
		}
		rest += e.instead
		if n := len(rest); n > 3 && e.instead == "" && rest[n-1] == rest[n-2] && rest[n-1] != 's' && rest[n-1] != 'l' { // stopping, stop
			rest = rest[:n-1]
		}
		return strings.TrimSuffix(rest, "e")
	}
	return w
}

// meant leaves out what says nothing of what is wanted, unless that is all.
func meant(words []string) []string {
	var out []string
	for _, w := range words {
		if !empty[w] {
			out = append(out, w)
		}
	}
	if len(out) == 0 {
		return words
	}
	return out
}

var empty = stems("a an the of for to in on at with by and or is are be do does can i me my we our you your it its this that these those all any some what which how who when where need want would like please tool tools function use using")

func stems(list string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(list) {
		out[stem(w)] = true
	}
	return out
}

// synonyms are verbs and nouns that tools are named by, and that people say
// otherwise.
var synonyms = alike(
	"find search look lookup query list get fetch retrieve read show view see browse",
	"create add new make open register insert start raise",
	"update change edit modify set patch adjust rename",
	"delete remove drop erase destroy forget",
	"cancel stop abort end close resolve finish",
	"send post publish notify message mail email",
	"notify watch subscribe alert tell follow",
	"refund reimburse repay chargeback",
	"customer client buyer",
	"user person member people employee",
	"order purchase",
	"incident outage ticket issue case alert",
	"invoice bill",
	"pay payment charge",
	"summarize summary describe detail overview",
	"count number total many much",
	"export download",
	"import upload",
	"file document attachment",
	"folder directory",
	"comment note remark",
	"assign delegate",
	"approve accept confirm",
	"repository repo",
	"schedule plan book",
)

func alike(groups ...string) map[string][]string {
	out := map[string][]string{}
	for _, g := range groups {
		words := strings.Fields(g)
		for _, a := range words {
			for _, b := range words {
				if a != b {
					out[stem(a)] = append(out[stem(a)], stem(b)) // of each group that it is in
				}
			}
		}
	}
	return out
}
