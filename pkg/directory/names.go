package directory

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/parley-chat/parley/pkg/chat"
)

// Bounds of names.
const (
	MinUsername    = 2
	MaxUsername    = 32
	MaxEmail       = 254 // bytes
	MaxDisplayName = 64  // Unicode scalar values
	MaxDevice      = 128 // Unicode scalar values of a session's name
)

// Fold brings usernames and e-mail addresses to the one spelling by which they are found and unique.
func Fold(s string) string { return strings.ToLower(s) }

// ParseUsername folds a username and checks its form: 2 to 32 of a-z0-9_.-.
func ParseUsername(s string) (string, error) {
	folded := Fold(s)
	if len(folded) < MinUsername || len(folded) > MaxUsername {
		return "", chat.Errorf(chat.Invalid, "a username has %d to %d characters", MinUsername, MaxUsername)
	}
	for _, c := range []byte(folded) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' && c != '-' {
			return "", chat.Errorf(chat.Invalid, "a username is made of a-z, 0-9, _, . and -")
		}
	}
	return folded, nil
}

// CheckEmail checks the form alone: text, one @, text. Whether mail arrives, only mail can tell.
func CheckEmail(s string) error {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || domain == "" || strings.Contains(domain, "@") {
		return chat.Errorf(chat.Invalid, "an e-mail address looks like name@example.org")
	}
	if len(s) > MaxEmail {
		return chat.Errorf(chat.Invalid, "an e-mail address has at most %d bytes", MaxEmail)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }) {
		return chat.Errorf(chat.Invalid, "an e-mail address holds no spaces and no control characters")
	}
	return nil
}

// CheckDisplayName checks a display name: any text of 1 to 64 characters that shows something.
func CheckDisplayName(s string) error {
	if !utf8.ValidString(s) {
		return chat.Errorf(chat.InvalidText, "display name is not valid Unicode")
	}
	if n := utf8.RuneCountInString(s); n < 1 || n > MaxDisplayName {
		return chat.Errorf(chat.Invalid, "a display name has 1 to %d characters", MaxDisplayName)
	}
	if strings.TrimSpace(s) == "" {
		return chat.Errorf(chat.Invalid, "a display name is not blank")
	}
	return nil
}
