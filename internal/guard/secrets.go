package guard

import (
	"math"
	"strings"
)

// A credential is found by a word that begins it or stands before it, and then
// held against its form by hand: no expression is run over the text. Each
// form is a function of the text and of where the word lies, which gives the
// bounds of the credential.
type secretRule struct {
	kind string
	word string
	find func(s *scan, start, end int) (from, to int, ok bool)
}

// charset is a set of bytes.
type charset [256]bool

func chars(s string) *charset {
	var c charset
	for i := 0; i < len(s); i++ {
		if i+2 < len(s) && s[i+1] == '-' {
			for b := int(s[i]); b <= int(s[i+2]); b++ {
				c[b] = true
			}
			i += 2
			continue
		}
		c[s[i]] = true
	}
	return &c
}

var (
	alnum     = chars("a-zA-Z0-9")
	word      = chars("a-zA-Z0-9_")
	urlsafe   = func() *charset { c := *word; c['-'] = true; return &c }()
	base64s   = chars("a-zA-Z0-9+/=")
	upperNum  = chars("A-Z0-9")
	hexDigits = chars("0-9a-fA-F")
	dotted    = func() *charset { c := *urlsafe; c['.'] = true; return &c }()
	bearers   = func() *charset { c := *dotted; c['~'], c['+'], c['/'], c['='] = true, true, true, true; return &c }()
)

func run(s string, i int, c *charset) int {
	for i < len(s) && c[s[i]] {
		i++
	}
	return i
}

// maxLooked is how far a form is looked at before it is taken: what is not
// taken is looked at again from the next word on, and the time must not grow
// with the square of the text.
const maxLooked = 512

func runAtMost(s string, i int, c *charset, most int) int {
	return run(s[:min(len(s), i+most)], i, c)
}

// token is a prefix in its exact case with at least min characters of a set
// after it. bound: no letter or digit stands before it.
func token(kind, prefix string, c *charset, min int, bound bool) secretRule {
	return secretRule{kind, prefix, func(sc *scan, start, end int) (int, int, bool) {
		s := sc.view
		if s[start:end] != prefix || bound && start > 0 && alnum[s[start-1]] {
			return 0, 0, false
		}
		to := run(s, end, c)
		return start, to, to-end >= min
	}}
}

var secretRules = buildSecretRules()

func buildSecretRules() (all []secretRule) {
	add := func(r ...secretRule) { all = append(all, r...) }
	tokens := func(kind string, c *charset, min int, bound bool, prefixes ...string) {
		for _, p := range prefixes {
			add(token(kind, p, c, min, bound))
		}
	}
	add(secretRule{"private-key", "-----begin", (*scan).privateKey})
	add(token("private-key", "AGE-SECRET-KEY-1", upperNum, 40, false), token("private-key", "PuTTY-User-Key-File-", chars(" -~\n\r"), 40, false))
	tokens("aws-access-key", upperNum, 16, false, "AKIA", "ASIA", "ABIA", "ACCA")
	tokens("gcp-api-key", urlsafe, 32, false, "AIza")
	tokens("gcp-access-token", dotted, 20, true, "ya29.")
	tokens("gcp-client-secret", urlsafe, 24, true, "GOCSPX-")
	add(secretRule{"azure-storage-key", "accountkey=", (*scan).azureKey}, secretRule{"azure-client-secret", "8q~", (*scan).azureSecret}, secretRule{"azure-client-secret", "7q~", (*scan).azureSecret})
	tokens("github-token", alnum, 36, false, "ghp_", "gho_", "ghu_", "ghs_", "ghr_")
	tokens("github-token", word, 60, false, "github_pat_")
	tokens("gitlab-token", urlsafe, 20, true, "glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-", "glft-", "glimt-", "glagent-")
	tokens("slack-token", urlsafe, 20, true, "xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxe-", "xoxe.", "xapp-")
	tokens("slack-webhook", bearers, 30, false, "hooks.slack.com/services/")
	tokens("stripe-key", alnum, 16, false, "sk_live_", "rk_live_", "sk_test_", "rk_test_", "whsec_")
	tokens("anthropic-key", urlsafe, 20, false, "sk-ant-")
	tokens("openai-key", urlsafe, 20, true, "sk-proj-", "sk-svcacct-", "sk-admin-")
	add(secretRule{"openai-key", "sk-", (*scan).skKey})
	tokens("npm-token", alnum, 36, true, "npm_")
	tokens("pypi-token", urlsafe, 50, true, "pypi-AgE")
	tokens("huggingface-token", alnum, 30, true, "hf_")
	tokens("docker-token", urlsafe, 24, true, "dckr_pat_")
	tokens("digitalocean-token", hexDigits, 60, true, "dop_v1_", "doo_v1_", "dor_v1_")
	tokens("shopify-token", hexDigits, 32, true, "shpat_", "shpss_", "shpca_", "shppa_")
	tokens("databricks-token", hexDigits, 32, true, "dapi")
	tokens("vault-token", dotted, 24, true, "hvs.", "hvb.", "hvr.")
	tokens("atlassian-token", bearers, 60, true, "ATATT3")
	tokens("sendgrid-key", dotted, 60, true, "SG.")
	tokens("grafana-token", bearers, 32, true, "glsa_", "glc_")
	tokens("linear-key", alnum, 32, true, "lin_api_")
	tokens("latchkey-key", urlsafe, 20, false, "lk_live_", "lk_ops_")
	tokens("latchkey-token", urlsafe, 40, true, "lko_")
	add(secretRule{"jwt", "eyj", (*scan).jwt})
	add(secretRule{"bearer-token", "bearer ", (*scan).bearer}, secretRule{"basic-credentials", "basic ", (*scan).basic})
	add(secretRule{"connection-string", "://", (*scan).connection})
	for _, w := range []string{"password", "passwd", "passwort", "contraseña", "pwd", "passphrase"} {
		add(secretRule{"password", w, (*scan).password})
	}
	for _, w := range []string{"api_key", "apikey", "api-key", "api key", "secret", "access_key", "accesskey", "access-key", "auth_token", "authtoken", "access_token", "accesstoken", "refresh_token", "private_key", "privatekey", "token", "credential"} {
		add(secretRule{"secret", w, (*scan).assigned})
	}
	return all
}

const dashes = "-----"

// privateKey takes the whole block, or what of it is there.
func (sc *scan) privateKey(start, end int) (int, int, bool) {
	s := sc.view
	head := s[end:min(end+64, len(s))]
	close := strings.Index(head, dashes)
	if close < 0 || !strings.Contains(head[:close], "PRIVATE KEY") {
		return 0, 0, false
	}
	body := end + close + len(dashes)
	if !sc.noKeyEnd {
		if n := strings.Index(s[body:], dashes+"END"); n >= 0 {
			to := body + n + len(dashes) + 3
			if m := strings.Index(s[to:min(to+64, len(s))], dashes); m >= 0 {
				to += m + len(dashes)
			}
			return start, to, true
		}
		sc.noKeyEnd = true // so that many beginnings are not each searched for an end
	}
	return start, run(s, body, keyBody), true
}

var keyBody = func() *charset {
	c := *base64s
	for _, b := range []byte(" \t\r\n\\:,-") {
		c[b] = true
	}
	return &c
}()

func (sc *scan) azureKey(start, end int) (int, int, bool) {
	to := run(sc.view, end, base64s)
	return start, to, to-end >= 60
}

// azureSecret is three characters, 7Q~ or 8Q~, and 31 to 34 more.
func (sc *scan) azureSecret(start, end int) (int, int, bool) {
	s := sc.view
	to := run(s, end, azureChars)
	if start < 3 || s[end-2:end] != "Q~" || to-end < 30 {
		return 0, 0, false
	}
	for i := start - 3; i < start; i++ {
		if !azureChars[s[i]] {
			return 0, 0, false
		}
	}
	return start - 3, to, true
}

var azureChars = func() *charset { c := *dotted; c['~'] = true; return &c }()

// skKey is `sk-` with a body that is no words.
func (sc *scan) skKey(start, end int) (int, int, bool) {
	s := sc.view
	if s[start:end] != "sk-" || start > 0 && alnum[s[start-1]] {
		return 0, 0, false
	}
	to := runAtMost(s, end, urlsafe, maxLooked)
	if to-end < 20 || !mixed(s[end:to]) || entropy(s[end:to]) < 3 {
		return 0, 0, false
	}
	return start, run(s, to, urlsafe), true
}

// jwt is two parts of base64url that begin as JSON does, and a signature, which
// may be empty.
func (sc *scan) jwt(start, end int) (int, int, bool) {
	s := sc.view
	if s[start:end] != "eyJ" || start > 0 && urlsafe[s[start-1]] {
		return 0, 0, false
	}
	head := run(s, end, urlsafe)
	if head-start < 12 || !strings.HasPrefix(s[head:], ".") {
		return 0, 0, false
	}
	body := run(s, head+1, urlsafe)
	if body-head < 10 {
		return 0, 0, false
	}
	to := body
	for to < len(s) && s[to] == '.' { // a signature; five parts where it is encrypted
		to = run(s, to+1, urlsafe)
	}
	return start, to, to > body
}

func (sc *scan) bearer(start, end int) (int, int, bool) {
	to := run(sc.view, end, bearers)
	value := sc.view[end:to]
	return end, to, len(value) >= 16 && mixed(value) && entropy(value) >= 3
}

func (sc *scan) basic(start, end int) (int, int, bool) {
	s := sc.view
	to := run(s, end, base64s)
	before := strings.ToLower(s[max(0, start-20):start])
	return end, to, to-end >= 8 && strings.Contains(before, "authorization")
}

// connection is a URL with a password in it, from its scheme to its host.
func (sc *scan) connection(start, end int) (int, int, bool) {
	s := sc.view
	colon := -1
	for i := end; i < len(s) && i < end+1024; i++ {
		switch c := s[i]; {
		case c == ':' && colon < 0:
			colon = i
		case c == '@' && colon >= 0:
			// The last @ before the host is the one that counts.
			to := run(s, i+1, authority)
			if n := strings.LastIndexByte(s[i:to], '@'); n > 0 {
				i += n
			}
			if placeholder(s[colon+1 : i]) {
				return 0, 0, false
			}
			from := start
			for from > 0 && schemeChars[s[from-1]] && start-from < 40 {
				from--
			}
			return from, to, true
		case !authority[c]:
			return 0, 0, false
		}
	}
	return 0, 0, false
}

var (
	schemeChars = chars("a-zA-Z0-9+.")
	authority   = func() *charset {
		var c charset
		for b := 0x21; b < 0x7f; b++ {
			c[b] = !strings.ContainsRune(`"'<>/\?#`+"`", rune(b))
		}
		for b := 0x80; b < 0x100; b++ {
			c[b] = true
		}
		return &c
	}()
)

// password is what stands after a word such as password and a sign that
// assigns.
func (sc *scan) password(start, end int) (int, int, bool) {
	from, to, ok := sc.value(start, end)
	if !ok || innocent(sc.name(start, end)) || !looksLikePassword(sc.view[from:to]) {
		return 0, 0, false
	}
	return from, run(sc.view, to, restChars), true
}

// assigned is the same for keys and tokens, which are longer and of no words.
func (sc *scan) assigned(start, end int) (int, int, bool) {
	from, to, ok := sc.value(start, end)
	if !ok || innocent(sc.name(start, end)) {
		return 0, 0, false
	}
	if !looksLikeKey(sc.view[from:to]) {
		return 0, 0, false
	}
	return from, run(sc.view, to, restChars), true
}

// name is the whole name that a word is part of.
func (sc *scan) name(start, end int) string {
	s := sc.view
	for n := 0; start > 0 && urlsafe[s[start-1]] && n < 40; n++ {
		start--
	}
	for n := 0; end < len(s) && urlsafe[s[end]] && n < 24; n++ {
		end++
	}
	return s[start:end]
}

// innocent names hold what has to travel: a page's cursor is no credential.
func innocent(name string) bool {
	name = strings.ToLower(name)
	for _, w := range []string{"page", "next", "prev", "cursor", "continu", "sync", "csrf", "type", "count", "public", "idempot", "progress", "_id", "hash"} {
		if strings.Contains(name, w) {
			return true
		}
	}
	return false
}

// value is what is assigned to the name that ends here, or a little later.
func (sc *scan) value(start, end int) (from, to int, ok bool) {
	s := sc.view
	i := end
	for n := 0; i < len(s) && urlsafe[s[i]] && n < 24; n++ {
		i++
	}
	if i < len(s) && urlsafe[s[i]] {
		return 0, 0, false
	}
	past := func(set string, most int) (n int) {
		for i < len(s) && n < most && strings.IndexByte(set, s[i]) >= 0 {
			i++
			n++
		}
		return n
	}
	past("\"'\\`])*", 4)
	past(" \t", 16)
	if past("=:>", 3) == 0 {
		if !strings.HasPrefix(s[i:], "is ") {
			return 0, 0, false
		}
		i += 3
	}
	past(" \t\n", 16)
	past("\"'\\`(*", 4)
	to = runAtMost(s, i, valueChars, maxLooked)
	for to > i && strings.IndexByte(".,;:)", s[to-1]) >= 0 { // the end of a sentence
		to--
	}
	return i, to, to > i
}

// restChars go on with a value that is a credential: rather too much is
// withheld than a part of it shown.
var restChars = func() *charset {
	var c charset
	for b := 0x21; b < 0x100; b++ {
		c[b] = b != 0x7f && !strings.ContainsRune("\"'`<>\\", rune(b))
	}
	return &c
}()

var valueChars = func() *charset {
	var c charset
	for b := 0x21; b < 0x100; b++ {
		c[b] = b != 0x7f && !strings.ContainsRune("\"'`<>\\", rune(b))
	}
	c[','], c['&'], c['|'], c['{'], c['}'], c['['], c[']'] = false, false, false, false, false, false, false
	return &c
}()

func looksLikePassword(v string) bool {
	if len(v) < 6 || len(v) > 256 || placeholder(v) {
		return false
	}
	k := kinds(v)
	return k.letters && (k.digits || k.marks && !k.spacedWords) && entropy(v) >= 2.2 || len(v) >= 12 && k.upper && k.lower && entropy(v) >= 3
}

func looksLikeKey(v string) bool {
	return len(v) >= 16 && !placeholder(v) && mixed(v) && entropy(v) >= 3
}

// placeholder holds of what only stands for a secret.
func placeholder(v string) bool {
	if v == "" || strings.IndexByte("$<*%[{", v[0]) >= 0 {
		return true
	}
	l := strings.ToLower(v)
	for _, w := range []string{"xxxx", "****", "your", "changeme", "change-me", "placeholder", "redacted", "withheld", "hidden"} {
		if strings.Contains(l, w) {
			return true
		}
	}
	return false
}

type kindsOf struct{ letters, upper, lower, digits, marks, spacedWords bool }

func kinds(v string) (k kindsOf) {
	marks := 0
	for i := range len(v) {
		switch c := v[i]; {
		case 'a' <= c && c <= 'z':
			k.lower = true
		case 'A' <= c && c <= 'Z':
			k.upper = true
		case '0' <= c && c <= '9':
			k.digits = true
		case c == '-' || c == '_' || c == '/' || c == '.':
			marks++ // what joins words
		default:
			k.marks = true
		}
	}
	k.letters = k.upper || k.lower
	k.spacedWords = !k.marks && marks > 0
	return k
}

// mixed holds of texts with letters and digits.
func mixed(v string) bool { k := kinds(v); return k.letters && k.digits }

// entropy is Shannon's, in bits a byte, of at most 256 bytes.
func entropy(v string) float64 {
	v = v[:min(len(v), 256)]
	var n [256]int
	for i := range len(v) {
		n[v[i]]++
	}
	e := 0.0
	for _, c := range n {
		if c > 0 {
			p := float64(c) / float64(len(v))
			e -= p * math.Log2(p)
		}
	}
	return e
}
