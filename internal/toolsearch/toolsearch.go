// Package toolsearch ranks tools by a few words that say what somebody wants to do.
//
// It owns words, weights and order. It knows nothing of who may use what: callers
// say which tools count, for each search.
package toolsearch

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// Tool is what is looked through of one.
type Tool struct {
	Name, Title, Description string
	Arguments                string // names, and what is said of them
}

// The ranking is BM25 over weighted fields (BM25F, Robertson and Zaragoza 2009):
// what a tool is called says more than what is said of it.
const (
	k1 = 1.2
	b  = 0.6
)

var weights = [fields]float64{name: 3, title: 2, description: 1, arguments: 0.4}

const (
	name = iota
	title
	description
	arguments
	fields
)

// What a word of the query counts where it is not the very word.
const (
	likePrefix  = 0.5 // it begins the word
	likeSynonym = 0.5 // another word for the same
	likeTypo    = 0.4 // one letter is another
)

const (
	maxQueryWords = 24
	minPrefix     = 3
	minTypo       = 5
)

// Index holds tools. It is safe for concurrent use.
type Index struct {
	size     int
	postings map[string][]posting // by word
	words    []string             // sorted
	names    []string
}

// posting is how much of a word a tool has: of all fields, weighted.
type posting struct {
	tool   int
	weight float64
}

// New makes an index.
func New(tools []Tool) *Index {
	x := &Index{size: len(tools), postings: map[string][]posting{}}
	read := make([][fields][]string, len(tools))
	var mean [fields]float64
	for i, t := range tools {
		read[i] = [fields][]string{wordsOf(t.Name), wordsOf(t.Title), wordsOf(t.Description), wordsOf(t.Arguments)}
		x.names = append(x.names, strings.ToLower(t.Name))
		for f, words := range read[i] {
			mean[f] += float64(len(words)) / float64(len(tools))
		}
	}
	for i := range read {
		weight := map[string]float64{}
		for f, words := range read[i] {
			for _, w := range words {
				weight[w] += weights[f] / (1 - b + b*float64(len(words))/max(mean[f], 1))
			}
		}
		for w, sum := range weight {
			x.postings[w] = append(x.postings[w], posting{i, sum})
		}
	}
	for w := range x.postings {
		x.words = append(x.words, w)
	}
	slices.Sort(x.words)
	return x
}

// Search gives the places of the tools that fit best, at most limit, and how many
// fit at all. A query without words gives all that count, by name.
func (x *Index) Search(query string, limit int, counts func(tool int) bool) (best []int, total int) {
	words := meant(wordsOf(query))
	query = strings.ToLower(query)
	if len(words) > maxQueryWords {
		words = words[:maxQueryWords]
	}
	type hit struct {
		tool  int
		score float64
	}
	var hits []hit
	if len(words) == 0 {
		for i := range x.size {
			if counts(i) {
				hits = append(hits, hit{i, 0})
			}
		}
	} else {
		scores, matched := map[int]float64{}, map[int]int{}
		for _, w := range words {
			for tool, score := range x.word(w) {
				scores[tool] += score
				matched[tool]++
			}
		}
		for tool, score := range scores {
			if !counts(tool) {
				continue
			}
			score *= 0.4 + 0.6*float64(matched[tool])/float64(len(words)) // who has all words before who has one often
			if x.names[tool] == strings.TrimSpace(query) {
				score += 1000
			}
			hits = append(hits, hit{tool, score})
		}
	}
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(x.names[a.tool], x.names[b.tool]))
	})
	for i := range min(limit, len(hits)) {
		best = append(best, hits[i].tool)
	}
	return best, len(hits)
}

// word gives what one word of a query counts for each tool: the best of what it
// can stand for.
func (x *Index) word(w string) map[int]float64 {
	out := map[int]float64{}
	add := func(word string, factor float64) {
		list := x.postings[word]
		if len(list) == 0 {
			return
		}
		idf := math.Log(1 + (float64(x.size)-float64(len(list))+0.5)/(float64(len(list))+0.5))
		for _, p := range list {
			score := factor * idf * p.weight * (k1 + 1) / (p.weight + k1)
			out[p.tool] = max(out[p.tool], score)
		}
	}
	add(w, 1)
	for _, s := range synonyms[w] {
		add(s, likeSynonym)
	}
	letters := len([]rune(w))
	if letters >= minPrefix {
		for i, _ := slices.BinarySearch(x.words, w); i < len(x.words) && strings.HasPrefix(x.words[i], w); i++ {
			add(x.words[i], likePrefix)
		}
	}
	if len(out) == 0 && letters >= minTypo {
		for _, other := range x.words {
			if oneOff(w, other) {
				add(other, likeTypo)
			}
		}
	}
	return out
}

// oneOff reports whether one letter more, less or other makes one of the other, or
// two beside each other changed places.
func oneOff(s, t string) bool {
	a, b := []rune(s), []rune(t)
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return slices.Equal(a[i:], b[i+1:])
	}
	if i == len(a) || slices.Equal(a[i+1:], b[i+1:]) {
		return true
	}
	return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && slices.Equal(a[i+2:], b[i+2:])
}
