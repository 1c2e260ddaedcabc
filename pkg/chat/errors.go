package chat

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what went wrong; its text is the stable wire code.
type Kind string

// The kinds of error.
const (
	Invalid         Kind = "invalid"
	InvalidText     Kind = "invalid_text"
	InvalidClientID Kind = "invalid_client_id"
	UnknownType     Kind = "unknown_type"
	TooLarge        Kind = "too_large"
	Unauthorized    Kind = "unauthorized"
	Forbidden       Kind = "forbidden"
	NotFound        Kind = "not_found"
	Conflict        Kind = "conflict"
	RateLimited     Kind = "rate_limited"
	Unavailable     Kind = "unavailable"
	UnknownOutcome  Kind = "unknown_outcome"
	PriorFailed     Kind = "prior_failed"
	Internal        Kind = "internal"
)

// Rule is what every interface does with a kind: one row of the only such table.
type Rule struct {
	HTTPStatus int
	Retryable  bool // the same request may succeed later
}

// Rule looks the kind up; an unknown kind is internal.
func (k Kind) Rule() Rule {
	switch k {
	case Invalid, InvalidText, InvalidClientID:
		return Rule{422, false}
	case UnknownType:
		return Rule{400, false}
	case TooLarge:
		return Rule{413, false}
	case Unauthorized:
		return Rule{401, false}
	case Forbidden:
		return Rule{403, false}
	case NotFound:
		return Rule{404, false}
	case Conflict:
		return Rule{409, false}
	case RateLimited:
		return Rule{429, true}
	case Unavailable:
		return Rule{503, true}
	case UnknownOutcome:
		return Rule{504, true}
	case PriorFailed:
		return Rule{424, true}
	case Internal:
		return Rule{500, false}
	}
	return Rule{500, false}
}

// Kinds lists every kind, for documents and tests.
func Kinds() []Kind {
	return []Kind{
		Invalid, InvalidText, InvalidClientID, UnknownType, TooLarge, Unauthorized, Forbidden, NotFound,
		Conflict, RateLimited, Unavailable, UnknownOutcome, PriorFailed, Internal,
	}
}

// Error is a refusal or a failure that a caller may show: Message holds nothing secret.
type Error struct {
	Kind       Kind
	Message    string
	RetryAfter time.Duration // zero: no hint
}

// Error is "kind: message".
func (e *Error) Error() string { return string(e.Kind) + ": " + e.Message }

// Errorf makes an Error; the message is shown to callers.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// KindOf finds the kind inside a wrapped error: Internal when there is none, "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Public is the Error to show for err: the one inside it, or an internal one that tells nothing.
func Public(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: Internal, Message: "internal error"}
}
