package guard

import "slices"

// matcher finds any of many words in one pass, ignoring the case of ASCII. What
// makes text with nothing in it cheap is the look before: of the first four
// bytes of each word two pairs are kept in tables, in groups of words, and only
// where both pairs of a place are of one group is a word looked for.
type matcher struct {
	class       [256]uint8 // bytes that no word tells apart share class 0
	first, then [1 << (2 * classBits)]uint8
	next        []uint16   // trie: by state<<classBits and class; 0: no word goes on so
	ends        [][]uint16 // by state: the words that end there
}

const (
	classBits = 7
	pairMask  = 1<<(2*classBits) - 1
	groups    = 8 // bits of the tables
)

// newMatcher takes words of at least two bytes.
func newMatcher(list []string) *matcher {
	m := &matcher{}
	classes := uint8(1)
	for _, w := range list {
		for i := range len(w) {
			if c := lower(w[i]); m.class[c] == 0 {
				m.class[c] = classes
				classes++
			}
		}
	}
	if classes > 1<<classBits {
		panic("guard: too many different bytes in the words")
	}
	for c := byte('A'); c <= 'Z'; c++ {
		m.class[c] = m.class[lower(c)]
	}
	m.state()
	for id, w := range list {
		m.add(uint16(id), w)
	}
	m.tables(list)
	return m
}

func (m *matcher) state() uint16 {
	m.next = append(m.next, make([]uint16, 1<<classBits)...)
	m.ends = append(m.ends, nil)
	return uint16(len(m.ends) - 1)
}

func (m *matcher) add(id uint16, w string) {
	s := uint16(0)
	for i := range len(w) {
		at := int(s)<<classBits | int(m.class[w[i]])
		if m.next[at] == 0 {
			n := m.state() // moves m.next
			m.next[at] = n
		}
		s = m.next[at]
	}
	m.ends[s] = append(m.ends[s], id)
}

// tables puts words that begin alike into one group, and those of two and three
// bytes, whose second pair says little, into the last.
func (m *matcher) tables(list []string) {
	sorted := slices.Clone(list)
	slices.Sort(sorted)
	for i, w := range sorted {
		group := uint8(1) << (i * (groups - 1) / len(sorted))
		if len(w) < 4 {
			group = 1 << (groups - 1)
		}
		m.first[m.pair(w[0], w[1])] |= group
		for c2 := range 1 << classBits {
			if len(w) > 2 && c2 != int(m.class[w[2]]) {
				continue
			}
			for c3 := range 1 << classBits {
				if len(w) <= 3 || c3 == int(m.class[w[3]]) {
					m.then[c2<<classBits|c3] |= group
				}
			}
		}
	}
}

func (m *matcher) pair(a, b byte) int { return int(m.class[a])<<classBits | int(m.class[b]) }

// any reports whether the text holds a word.
func (m *matcher) any(s string) bool {
	for i := 0; ; i++ {
		if i = m.candidate(s, i); i < 0 {
			return false
		}
		state := uint16(0)
		for j := i; j < len(s); j++ {
			if state = m.next[int(state)<<classBits|int(m.class[s[j]])]; state == 0 {
				break
			}
			if len(m.ends[state]) > 0 {
				return true
			}
		}
	}
}

// each calls f with every word and where it ends, by where they begin.
func (m *matcher) each(s string, f func(word uint16, end int)) {
	for i := 0; ; i++ {
		if i = m.candidate(s, i); i < 0 {
			return
		}
		state := uint16(0)
		for j := i; j < len(s); j++ {
			if state = m.next[int(state)<<classBits|int(m.class[s[j]])]; state == 0 {
				break
			}
			for _, w := range m.ends[state] {
				f(w, j+1)
			}
		}
	}
}

// candidate is the first place from i on where a word may begin, or -1.
func (m *matcher) candidate(s string, i int) int {
	if i+1 >= len(s) {
		return -1
	}
	p0 := m.pair(s[i], s[i+1]) // at i
	p1 := m.follow(p0, s, i+2) // at i+1
	p2 := m.follow(p1, s, i+3) // at i+2
	for n := len(s) - 4; i < n; i++ {
		if m.first[p0]&m.then[p2] != 0 {
			return i
		}
		p0, p1, p2 = p1, p2, (p2<<classBits|int(m.class[s[i+4]]))&pairMask
	}
	for ; i+1 < len(s); i++ { // behind the end there are bytes of no word
		if m.first[p0]&m.then[p2] != 0 {
			return i
		}
		p0, p1, p2 = p1, p2, m.follow(p2, s, i+4)
	}
	return -1
}

func (m *matcher) follow(pair int, s string, i int) int {
	c := uint8(0)
	if i < len(s) {
		c = m.class[s[i]]
	}
	return (pair<<classBits | int(c)) & pairMask
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
