package terminal

import (
	"fmt"
	"strings"
	"unicode"
)

// mostMarks is how many combining marks in a row are shown: more of them smear over other lines.
const mostMarks = 6

// clean makes text of people harmless for a terminal: what is left are printable characters and line ends.
// Controls and what turns the writing direction are shown, other invisible characters are left out.
func clean(text string) string {
	var b strings.Builder
	marks := 0
	for _, r := range strings.ToValidUTF8(strings.ReplaceAll(text, "\r\n", "\n"), "\uFFFD") {
		if unicode.In(r, unicode.Mn, unicode.Me) {
			if marks++; marks > mostMarks {
				continue
			}
		} else {
			marks = 0
		}
		b.WriteString(shown(r))
	}
	return b.String()
}

// cleanLine is clean for what must stay on one line: names above all.
func cleanLine(text string) string {
	return strings.ReplaceAll(clean(text), "\n", "\u240A")
}

func shown(r rune) string {
	const (
		joiner, nonJoiner  = '\u200D', '\u200C' // emoji and several scripts need them
		tagFirst, tagLast  = '\U000E0020', '\U000E007F'
		firstC1, firstPict = '\u0080', '\u2400'
	)
	switch {
	case r == '\n':
		return "\n"
	case r == '\t':
		return "    "
	case r == 0x7F:
		return "\u2421"
	case r < 0x20:
		return string(firstPict + r)
	case r >= firstC1 && r < 0xA0, turns(r):
		return fmt.Sprintf("<%02X>", r)
	case r == '\u2028', r == '\u2029':
		return "\n"
	case r == joiner, r == nonJoiner, r >= tagFirst && r <= tagLast:
		return string(r)
	case unicode.Is(unicode.Cf, r), hidden(r):
		return ""
	case unicode.In(r, unicode.Cs, unicode.Noncharacter_Code_Point):
		return "\uFFFD"
	}
	return string(r)
}

// turns reports whether r changes the direction of what stands behind it.
func turns(r rune) bool {
	return r >= '\u202A' && r <= '\u202E' || r >= '\u2066' && r <= '\u2069'
}

// hidden lists letters that are drawn as nothing although no format character.
func hidden(r rune) bool {
	return r == '\u115F' || r == '\u1160' || r == '\u3164' || r == '\uFFA0'
}
