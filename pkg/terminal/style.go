package terminal

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// style paints. It uses the terminal's own sixteen colours and never a background, so that it is legible on light
// and on dark; without colours, weight alone tells things apart.
type style struct{ colours bool }

const reset = "\x1b[m"

func (style) paint(code, text string) string {
	if text == "" {
		return ""
	}
	return "\x1b[" + code + "m" + text + reset
}

func (s style) coloured(code, plain, text string) string {
	if s.colours {
		return s.paint(code, text)
	}
	if plain == "" {
		return text
	}
	return s.paint(plain, text)
}

func (s style) strong(text string) string { return s.paint("1", text) }
func (s style) faint(text string) string  { return s.paint("2", text) }
func (s style) chosen(text string) string { return s.paint("7", text) }
func (s style) mine(text string) string   { return s.coloured("1;36", "1", text) }
func (s style) other(text string) string  { return s.coloured("1;35", "1", text) }
func (s style) good(text string) string   { return s.coloured("32", "", text) }
func (s style) bad(text string) string    { return s.coloured("1;31", "1", text) }
func (s style) news(text string) string   { return s.coloured("1;33", "1", text) }

func width(text string) int { return ansi.StringWidth(text) }

// fit makes text exactly w columns wide.
func fit(text string, w int) string {
	if w <= 0 {
		return ""
	}
	if width(text) > w {
		text = ansi.Truncate(text, w, "…")
	}
	return text + strings.Repeat(" ", max(w-width(text), 0))
}

// clip makes text at most w columns wide.
func clip(text string, w int) string {
	if width(text) <= w {
		return text
	}
	return ansi.Truncate(text, max(w, 0), "…")
}

// wrap breaks clean text into lines of at most w columns.
func wrap(text string, w int) []string {
	return strings.Split(ansi.Wrap(text, max(w, 1), ""), "\n")
}
