package directory

import (
	"fmt"
	"io"
	"log/slog"
)

// Secret is text that must not be seen in a log: every way of printing it shows [redacted]. Convert it to
// string to use it.
type Secret string

const redacted = "[redacted]"

// String hides the text.
func (Secret) String() string { return redacted }

// LogValue hides the text from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// Format hides the text from every verb of fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }
