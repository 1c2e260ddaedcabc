package checker

import (
	"fmt"
	"slices"
	"strings"
)

// Promise names a promise of the design: I1 to I14.
type Promise string

// Violation is one broken promise.
type Violation struct {
	Promise Promise
	Line    int // of the history; 0 when it shows only in the whole
	What    string
}

// mostShown bounds the violations kept per promise; all are counted.
const mostShown = 50

// Report is the judgement.
type Report struct {
	Events        uint64
	Conversations int
	Clients       int
	Records       uint64 // distinct records seen
	Sends         uint64
	Acked         uint64
	Refused       uint64
	Unknown       uint64 // sends without an answer
	Stored        uint64 // of those, the ones that stand
	Shown         uint64 // records shown by devices
	Repeats       uint64 // repeated sends answered
	Missed        uint64 // records fetched because they did not come live (a note, no violation)

	Checks     map[Promise]uint64 // how often each promise was put to the test
	Counts     map[Promise]uint64 // violations
	Violations []Violation        // the first ones of each promise
}

// Promises lists what is checked.
func Promises() []Promise {
	return []Promise{"I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I13", "I14"}
}

func meaning(p Promise) string {
	return map[Promise]string{
		"I1": "acknowledged is stored once", "I2": "every device shows all, once", "I3": "one order", "I4": "dense seq",
		"I5": "live and sync join", "I6": "a device's order", "I7": "received as sent", "I8": "members only",
		"I9": "receipts move forward", "I10": "unread is exact", "I11": "repeats get the first answer",
		"I12": "presence does not flap", "I13": "deleted is unreadable", "I14": "usernames are unique",
	}[p]
}

// OK reports that nothing is wrong.
func (r *Report) OK() bool { return len(r.Violations) == 0 }

func (r *Report) violate(p Promise, line int, format string, args ...any) {
	r.Counts[p]++
	if r.Counts[p] <= mostShown {
		r.Violations = append(r.Violations, Violation{p, line, fmt.Sprintf(format, args...)})
	}
}

func (r *Report) check(p Promise) { r.Checks[p]++ }

// String is the report for people.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d events, %d conversations, %d clients, %d records shown %d times\n", r.Events, r.Conversations, r.Clients, r.Records, r.Shown)
	fmt.Fprintf(&b, "%d sends: %d acknowledged, %d refused, %d unknown (%d of them stored); %d repeats, %d fetched late\n\n",
		r.Sends, r.Acked, r.Refused, r.Unknown, r.Stored, r.Repeats, r.Missed)
	fmt.Fprintf(&b, "%-4s  %-32s %12s %12s\n", "", "promise", "checks", "violations")
	total := uint64(0)
	for _, p := range Promises() {
		fmt.Fprintf(&b, "%-4s  %-32s %12d %12d\n", p, meaning(p), r.Checks[p], r.Counts[p])
		total += r.Counts[p]
	}
	fmt.Fprintf(&b, "\n%d violations\n", total)
	shown := slices.Clone(r.Violations)
	slices.SortStableFunc(shown, func(a, b Violation) int { return order(a.Promise) - order(b.Promise) })
	for _, v := range shown {
		if v.Line > 0 {
			fmt.Fprintf(&b, "%s line %d: %s\n", v.Promise, v.Line, v.What)
		} else {
			fmt.Fprintf(&b, "%s: %s\n", v.Promise, v.What)
		}
	}
	return b.String()
}

func order(p Promise) int { return slices.Index(Promises(), p) }
