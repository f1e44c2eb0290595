package guard

import (
	"regexp"
	"sync"

	"golang.org/x/text/unicode/norm"
)

// injectionRule flags what tells a model what to do. A word of it is looked for
// in the whole text; the expression sees only the neighbourhood of that word.
// Nil: the word itself is enough.
type injectionRule struct {
	name  string
	words []string
	near  func() *regexp.Regexp
}

func near(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?is)` + expr) })
}

const (
	before = 40 // bytes of the neighbourhood
	after  = 160
)

// Some of these words are common. Nothing is refused or taken away for a flag,
// so that a wrong one costs a line.
var injectionRules = []injectionRule{
	{"ignore-instructions", []string{"ignore", "disregard", "forget", "override", "bypass"},
		near(`(ignore|disregard|forget|override|bypass)\W+(?:\w+\W+){0,4}?(previous|prior|above|earlier|preceding|all|your|system|any|these|those)\W+(?:\w+\W+){0,3}?(instruction|prompt|rule|direction|guideline|context|command|polic|order|restriction|safeguard)`)},
	{"ignore-instructions", []string{"ignorier", "vergiss", "vergessen sie", "missachte"},
		near(`(ignorier\pL*|vergiss|vergessen sie|missachte\pL*)[^.\n]*(anweisung|instruktion|vorgabe|regel|befehl|prompt)`)},
	{"ignore-instructions", []string{"ignorez", "ignore les", "oubliez", "oublie ", "ignora ", "ignore las", "ignore os", "ignore as", "olvida", "olvide", "esqueça", "desconsidere", "dimentica", "negeer", "vergeet", "zignoruj", "ignoruj", "zapomnij"},
		near(`(ignore|oubli|ignora|olvid|esqueça|desconsidere|dimentica|negeer|vergeet|ignoruj|zapomnij)[^.\n]*(instruc|istruz|instruct|consigne|règle|regla|regra|regole|opdracht|instrukcj|polece|orden|ordine|aanwijzing)`)},
	{"ignore-instructions", []string{"忽略", "无视", "無視", "忘记", "忘記", "гнорируй", "абудь", "تجاهل", "अनदेखा", "무시"},
		near(`((忽略|无视|無視|忘记|忘記)[^\n]*(指令|指示|提示|说明|說明|規則|规则|命令))|((指示|命令|指令)[^\n]*無視)|((игнорируй|забудь)[^\n]*(инструкци|указани|правил))|(تجاهل[^\n]*(تعليمات|أوامر))|(निर्देश[^\n]*अनदेखा)|((지시|명령)[^\n]*무시)`)},
	{"new-role", []string{"you are now", "from now on", "new instructions", "new system prompt", "you must now", "developer mode", "jailbreak", "du bist jetzt", "ab jetzt bist", "tu es maintenant", "ahora eres"},
		near(`(you are now|from now on,? you|you must now|new (system )?(instructions?|prompt)\s*:|developer mode|jailbreak|du bist (ab )?jetzt|ab jetzt bist|tu es maintenant|ahora eres)`)},
	{"fake-turn", []string{"<|im_start|>", "<|im_end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|endoftext|>", "<|start_header_id|>", "<|eot_id|>", "<|start|>", "<|channel|>", "<|message|>", "[inst]", "[/inst]", "<<sys>>", "<start_of_turn>", "<end_of_turn>", "<system>", "</system>", "[system]", "<system-reminder>", "<system_prompt>", "<｜"}, nil},
	{"fake-turn", []string{"\n\nhuman:", "\n\nassistant:", "### instruction", "### system", "system:", "assistant:", "system message:", "developer:"},
		near(`(\n\n(human|assistant)\s*:)|(###\s*(instruction|system)[^\n]*:)|((^|\n)\W{0,6}(system|developer|assistant)( (message|prompt))?\s*:\s*\W{0,3}(you|ignore|from now|new|override|important|the (user|assistant)|do|always|never|call|use))`)},
	{"tool-call", []string{"<tool_call", "<function_call", "<invoke ", "<tool_use", "<function=", "<tool_result", "<function_result", "[tool_calls]", "\"tool_calls\"", "\"function_call\"", "antml:"}, nil},
	{"hide-from-user", []string{"do not tell", "don't tell", "don’t tell", "never tell", "without telling", "without informing", "without asking", "do not inform", "do not mention", "don't mention", "do not reveal", "do not notify", "do not alert", "do not ask", "keep this secret", "sag dem nutzer", "nicht verraten", "nicht erwähnen", "ne dites pas", "ne le dis pas", "no le digas", "não conte"},
		near(`(((do not|don['’]t|never|without)\s+(tell|inform|mention|reveal|notify|alert|ask)\w*\s+(?:\w+\s+){0,4}(user|human|person|operator|customer|anyone|anybody|them|him|her|admin\w*|confirmation|permission))|(keep this secret from)|(sag dem nutzer nicht)|(nutzer[^.\n]*nicht (verraten|erwähnen))|(ne (le )?(dites|dis) pas)|(no le digas)|(não conte))`)},
	{"data-out", []string{"!["}, near(`!\[[^\]]*\](\[|\(\s*https?://[^)\s]*[?&=%{$])`)},
	{"data-out", []string{"](http", "](//"}, near(`\]\(\s*(https?:)?//[^)\s]*([?&](data|d|q|c|s|secret|token|key|payload|exfil|context|conversation|history|msg|text|content)=|\{|%7b|\$\{|<)`)},
	{"data-out", []string{"<img ", "<img\n"}, near(`<img\s[^>]*src\s*=\s*["']?(https?:)?//`)},
	{"send-away", []string{"exfiltrate", "send the", "send all", "send this", "send your", "send me", "forward the", "forward all", "upload the", "upload all", "post the", "email the", "email all", "curl -", "wget http"},
		near(`(exfiltrate)|((send|forward|upload|post|e?mail)\s+(?:[\w'-]+\s+){1,8}?(to|at)\s+(https?://|[\w.+-]+@[\w-]+\.))|((curl|wget)\s[^\n]*https?://)`)},
	{"fake-marker", []string{"</untrusted-", "<untrusted-"}, nil},
}

const (
	maxFlags  = 32  // in a report
	maxChecks = 500 // neighbourhoods of a result that are looked at
)

// injections flags what the words in a text stand for.
func (a *application) injections(view string, found []wordAt, compat bool) {
	var done uint64 // rules that the text has met
	check := func(view string, w uint16, end int) {
		i := wordMeans[w].injection - 1
		if i < 0 || done&(1<<i) != 0 {
			return
		}
		r := &injectionRules[i]
		if r.near != nil {
			if a.checks++; a.checks > maxChecks {
				a.flag("flooded") // with beginnings, of which the rest is not looked at
				return
			}
			start := end - len(allWords[w])
			if !r.near().MatchString(view[max(0, start-before):min(len(view), end+after)]) {
				return
			}
		}
		done |= 1 << i
		a.flag(r.name)
	}
	for _, f := range found {
		check(view, f.word, f.end)
	}
	if compat {
		plain := norm.NFKC.String(view)
		words.each(plain, func(w uint16, end int) { check(plain, w, end) })
	}
}

// flag notes a pattern at the place that is being looked at.
func (a *application) flag(pattern string) {
	f := Flag{pattern, a.pointer()}
	for _, g := range a.report.Flags {
		if g == f || pattern == "flooded" && g.Pattern == pattern {
			return
		}
	}
	if len(a.report.Flags) < maxFlags {
		a.report.Flags = append(a.report.Flags, f)
	}
}
