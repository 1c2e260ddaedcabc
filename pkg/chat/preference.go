package chat

import "time"

// MutedUntil says until when a person wants no notice of a conversation: "" is not muted, "forever" has no
// end, anything else is a time in TimeLayout. Values are made by ParseMutedUntil, so that equal ones are equal text.
type MutedUntil string

// MutedForever has no end.
const MutedForever MutedUntil = "forever"

// MutedUntilTime is the value that ends at t.
func MutedUntilTime(t time.Time) MutedUntil { return MutedUntil(AppendTime(nil, t)) }

// ParseMutedUntil reads "", "forever" or a time of RFC 3339 between the years 1 and 9999, of which it keeps
// the milliseconds, in UTC.
func ParseMutedUntil(s string) (MutedUntil, error) {
	if s == "" || s == string(MutedForever) {
		return MutedUntil(s), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return "", Errorf(Invalid, "muted_until %q is neither a time of RFC 3339 nor %q", Clip(s), MutedForever)
	}
	t = t.UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return "", Errorf(Invalid, "muted_until %q lies outside the years 1 to 9999", Clip(s))
	}
	return MutedUntilTime(t), nil
}

// At reports whether it mutes at a time.
func (m MutedUntil) At(now time.Time) bool {
	if m == "" || m == MutedForever {
		return m != ""
	}
	until, err := time.Parse(TimeLayout, string(m))
	return err == nil && now.Before(until)
}
