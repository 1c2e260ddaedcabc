package terminal

import (
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
)

// mostTyped is the server's bound of a text, in characters.
const mostTyped = 100_000

// editor is a line of input; a message may hold line ends.
type editor struct {
	text []rune
	at   int // 0..len(text)
}

func (e *editor) String() string { return string(e.text) }

func (e *editor) insert(text string) {
	in := []rune(strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n"))
	in = in[:min(len(in), mostTyped-len(e.text))]
	e.text = slices.Insert(e.text, e.at, in...)
	e.at += len(in)
}

// key takes a key of editing; false when it is none.
func (e *editor) key(k tea.KeyPressMsg) bool {
	if k.Text != "" {
		e.insert(k.Text)
		return true
	}
	switch k.Keystroke() {
	case "space":
		e.insert(" ")
	case "left", "ctrl+b":
		e.at = max(e.at-1, 0)
	case "right", "ctrl+f":
		e.at = min(e.at+1, len(e.text))
	case "home", "ctrl+a":
		e.at = 0
	case "end", "ctrl+e":
		e.at = len(e.text)
	case "backspace", "ctrl+h":
		e.cut(max(e.at-1, 0), e.at)
	case "delete", "ctrl+d":
		e.cut(e.at, min(e.at+1, len(e.text)))
	case "ctrl+u":
		e.cut(0, e.at)
	case "ctrl+k":
		e.cut(e.at, len(e.text))
	case "ctrl+w", "alt+backspace":
		e.cut(e.wordBefore(), e.at)
	default:
		return false
	}
	return true
}

func (e *editor) cut(from, to int) {
	e.text = slices.Delete(e.text, from, to)
	e.at = from
}

func (e *editor) wordBefore() int {
	at := e.at
	for at > 0 && e.text[at-1] == ' ' {
		at--
	}
	for at > 0 && e.text[at-1] != ' ' {
		at--
	}
	return at
}

// view is the part around the cursor in at most w columns, and the cursor's column in it.
func (e *editor) view(w int) (text string, cursor int) {
	from := e.at
	used := 0
	for from > 0 {
		next := width(cleanLine(string(e.text[from-1])))
		if used+next > max(w-2, 1) {
			break
		}
		used += next
		from--
	}
	before := cleanLine(string(e.text[from:e.at]))
	after := cleanLine(string(e.text[e.at:min(len(e.text), e.at+max(w, 0))]))
	return clip(before+after, w), width(before)
}
