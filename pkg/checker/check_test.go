package checker

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
)

func TestValidHistoriesPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := generate(t)
		report := judge(t, w.events)
		if !report.OK() {
			t.Fatalf("a valid history is judged:\n%s", report.String())
		}
		for _, p := range Promises() {
			if report.Checks[p] == 0 && p != "I13" {
				t.Errorf("%s was never put to the test", p)
			}
		}
	})
}

// mutation breaks a valid history in one way. It reports whether there was something to break.
type mutation struct {
	promise Promise
	name    string
	apply   func(w *world) bool
}

func find(events []Event, ok func(*Event) bool) int {
	return slices.IndexFunc(events, func(e Event) bool { return ok(&e) })
}

// findLast is the last event that ok accepts, -1 if none.
func findLast(events []Event, ok func(*Event) bool) int {
	for i := len(events) - 1; i >= 0; i-- {
		if ok(&events[i]) {
			return i
		}
	}
	return -1
}

// everySight changes the records of every event that shows some; f gets a copy.
func (w *world) everySight(f func(e *Event, records []Record) []Record) {
	for i := range w.events {
		e := &w.events[i]
		if len(e.Records) > 0 {
			e.Records = f(e, slices.Clone(e.Records))
		}
	}
	w.events = slices.DeleteFunc(w.events, func(e Event) bool {
		return len(e.Records) == 0 && (e.Op == OpReceived || e.Op == OpSynced || e.Op == OpFilled)
	})
}

func (w *world) change(ok func(*Event) bool, f func(e *Event)) bool {
	i := find(w.events, ok)
	if i < 0 {
		return false
	}
	w.events[i].Records = slices.Clone(w.events[i].Records)
	f(&w.events[i])
	return true
}

func message(e *Event) bool {
	return (e.Op == OpReceived) && e.Records[0].Kind == chat.KindMessage && strings.HasPrefix(e.Client, "u2/")
}

// plain is a message that was acknowledged, and never edited or deleted; 0 if there is none.
func (w *world) plain() chat.Seq {
	for _, r := range w.log {
		if r.Kind == chat.KindMessage && w.edited[r.Seq] == 0 && !w.deleted[r.Seq] {
			if i := find(w.events, func(e *Event) bool { return e.Op == OpSent && e.Seq == r.Seq }); i >= 0 {
				return r.Seq
			}
		}
	}
	return 0
}

func mutations() []mutation {
	return []mutation{
		{"I1", "an acknowledged message is nowhere", func(w *world) bool {
			lost := w.plain()
			w.everySight(func(_ *Event, records []Record) []Record {
				return slices.DeleteFunc(records, func(r Record) bool { return r.Seq == lost })
			})
			return lost != 0
		}},
		{"I1", "another record stands where one was acknowledged", func(w *world) bool {
			seq := w.plain()
			w.everySight(func(_ *Event, records []Record) []Record {
				for i := range records {
					if records[i].Seq == seq {
						records[i].ClientID[15] ^= 1
					}
				}
				return records
			})
			return seq != 0
		}},
		{"I1", "a message stands twice", func(w *world) bool {
			seq := w.plain()
			e := w.events[find(w.events, func(e *Event) bool { return e.Op == OpSent && e.Seq == seq })]
			other := slices.IndexFunc(w.log, func(r Record) bool { return r.Kind == chat.KindMessage && r.Seq != seq })
			w.everySight(func(_ *Event, records []Record) []Record {
				for i := range records {
					if records[i].Seq == chat.Seq(other+1) {
						records[i].ClientID, records[i].Sender = e.ClientID, w.log[seq-1].Sender
					}
				}
				return records
			})
			return seq != 0 && other >= 0
		}},
		{"I1", "a refused message stands", func(w *world) bool {
			return w.change(func(e *Event) bool { return e.Op == OpSent }, func(e *Event) {
				// The first answer becomes a refusal: nothing else knows of it then.
				id := e.ClientID
				*e = Event{T: e.T, Op: OpFail, Client: e.Client, Conversation: e.Conversation, ClientID: id, Code: "forbidden"}
				w.events = slices.DeleteFunc(w.events, func(o Event) bool { return o.Op == OpSent && o.ClientID == id })
			})
		}},
		{"I2", "a device misses the newest records", func(w *world) bool {
			head := chat.Seq(len(w.log))
			cut := 0
			w.events = slices.DeleteFunc(w.events, func(e Event) bool {
				miss := e.Client == "u2/1" && len(e.Records) == 1 && e.Records[0].Seq == head && (e.Op == OpReceived || e.Op == OpSynced)
				if miss {
					cut++
				}
				return miss
			})
			return cut > 0
		}},
		{"I2", "a device shows a message twice", func(w *world) bool {
			i := find(w.events, message)
			if i < 0 {
				return false
			}
			w.events = slices.Insert(w.events, i, w.events[i])
			return true
		}},
		{"I3", "a device shows two messages in the other order", func(w *world) bool {
			i := find(w.events, message)
			if i < 0 {
				return false
			}
			for j := i + 1; j < len(w.events); j++ {
				if w.events[j].Client == w.events[i].Client && w.events[j].Op == OpReceived && w.events[j].Seq == 0 {
					w.events[i], w.events[j] = w.events[j], w.events[i]
					return true
				}
			}
			return false
		}},
		{"I3", "one device sees two messages exchanged", func(w *world) bool {
			i := find(w.events, message)
			if i < 0 {
				return false
			}
			for j := i + 1; j < len(w.events); j++ {
				if w.events[j].Client == w.events[i].Client && message(&w.events[j]) {
					a, b := w.events[i].Records[0], w.events[j].Records[0]
					a.Seq, b.Seq = b.Seq, a.Seq
					w.events[i].Records, w.events[j].Records = []Record{b}, []Record{a}
					return true
				}
			}
			return false
		}},
		{"I3", "two people have different heads at rest", func(w *world) bool {
			return w.change(func(e *Event) bool { return e.Op == OpFinalHead }, func(e *Event) { e.ID++ })
		}},
		{"I4", "a seq is a hole", func(w *world) bool {
			seq := w.plain()
			w.events = slices.DeleteFunc(w.events, func(e Event) bool { return e.Op == OpSent && e.Seq == seq })
			w.everySight(func(_ *Event, records []Record) []Record {
				return slices.DeleteFunc(records, func(r Record) bool { return r.Seq == seq })
			})
			return seq != 0
		}},
		{"I4", "n does not count a message", func(w *world) bool {
			seq := w.plain()
			w.everySight(func(_ *Event, records []Record) []Record {
				for i := range records {
					if records[i].Seq >= seq {
						records[i].N--
					}
				}
				return records
			})
			return seq != 0
		}},
		{"I4", "a page lacks a message", func(w *world) bool {
			seq := w.plain()
			return w.change(func(e *Event) bool { return e.Op == OpFinalPage && seq >= e.From && seq <= e.To }, func(e *Event) {
				e.Records = slices.DeleteFunc(e.Records, func(r Record) bool { return r.Seq == seq })
			})
		}},
		{"I4", "the pages stop early", func(w *world) bool {
			i := findLast(w.events, func(e *Event) bool { return e.Op == OpFinalPage })
			w.events = slices.Delete(w.events, i, i+1)
			return true
		}},
		{"I5", "a device jumps over a message", func(w *world) bool {
			last := map[string]chat.Seq{}
			for i := range w.events {
				e := &w.events[i]
				if message(e) && last[e.Client] != 0 && last[e.Client] < e.Records[0].Seq && len(w.log) > int(e.Records[0].Seq) && w.later(i) {
					w.events = slices.Delete(w.events, i, i+1)
					return true
				}
				if len(e.Records) == 1 && e.Op == OpReceived {
					last[e.Client] = e.Records[0].Seq
				}
			}
			return false
		}},
		{"I5", "a connection gets a record twice", func(w *world) bool {
			w.add(Event{Op: OpRepeat, Client: "u2/1", Conn: 1, Conversation: w.conv, Seq: 2})
			return true
		}},
		{"I6", "two sends of a device stand in the other order", func(w *world) bool {
			first, second := -1, -1
			for i := range w.events {
				e := &w.events[i]
				if e.Op != OpSend {
					continue
				}
				if first >= 0 && e.Client == w.events[first].Client && w.acked(e.ClientID) {
					second = i
					break
				}
				if first < 0 && w.acked(e.ClientID) {
					first = i
				}
			}
			if second < 0 {
				return false
			}
			e := w.events[second]
			w.events = slices.Insert(slices.Delete(w.events, second, second+1), first, e)
			return true
		}},
		{"I7", "a byte of a text is changed for everybody", func(w *world) bool {
			seq := w.plain()
			w.everySight(func(_ *Event, records []Record) []Record {
				for i := range records {
					if records[i].Seq == seq {
						records[i].TextHash = HashText("another")
					}
				}
				return records
			})
			return seq != 0
		}},
		{"I7", "a byte of a text is changed for one", func(w *world) bool {
			return w.change(message, func(e *Event) { e.Records[0].TextHash = HashText("another") })
		}},
		{"I7", "a message that nobody sent", func(w *world) bool {
			seq := w.plain()
			id := w.log[max(seq, 1)-1].ClientID
			w.events = slices.DeleteFunc(w.events, func(e Event) bool { return e.ClientID == id })
			return seq != 0
		}},
		{"I8", "a removed member gets a message live", func(w *world) bool {
			removed := slices.IndexFunc(w.log, func(r Record) bool { return r.Action == chat.ActionRemoved })
			i := slices.IndexFunc(w.log[removed:], func(r Record) bool { return r.Kind == chat.KindMessage })
			back := slices.IndexFunc(w.log[removed:], func(r Record) bool { return r.Action == chat.ActionAdded })
			if i < 0 || back >= 0 && back < i {
				return false
			}
			w.add(Event{Op: OpReceived, Client: "u3/1", Conn: 9, Conversation: w.conv, Records: []Record{w.log[removed+i]}})
			return true
		}},
		{"I8", "a stranger reads", func(w *world) bool {
			w.add(Event{Op: OpPage, Client: "ustranger/0", T0: w.now, Conversation: w.conv, From: 1, To: 2, Records: w.fold(0, 2)})
			return true
		}},
		{"I8", "a removed member reads what came before", func(w *world) bool {
			i := find(w.events, func(e *Event) bool { return e.Op == OpMemberRemove })
			t := w.events[i].T
			e := Event{Op: OpPage, Client: "u3/0", T0: t + 1, T: t + 2, Conversation: w.conv, From: 1, To: 1, Records: []Record{w.log[0]}}
			w.events = slices.Insert(w.events, i+1, e)
			return true
		}},
		{"I9", "a receipt goes back", func(w *world) bool {
			i := find(w.events, func(e *Event) bool { return e.Op == OpCursor })
			e := w.events[i]
			e.Seq, e.N = 1, 0
			w.events = slices.Insert(w.events, i+1, e)
			return true
		}},
		{"I9", "somebody has read more than there is", func(w *world) bool {
			return w.change(func(e *Event) bool { return e.Op == OpCursor }, func(e *Event) { e.Seq += 1000 })
		}},
		{"I9", "a cursor that was acknowledged is lost", func(w *world) bool {
			return w.change(func(e *Event) bool { return e.Op == OpFinalHead && strings.HasPrefix(e.Client, "u1/") }, func(e *Event) {
				e.Read, e.Unread = &chat.Cursor{}, e.N
			})
		}},
		{"I10", "unread is one too many", func(w *world) bool {
			return w.change(func(e *Event) bool { return e.Op == OpFinalHead }, func(e *Event) { e.Unread++ })
		}},
		{"I10", "own messages are unread", func(w *world) bool {
			i := findLast(w.events, func(e *Event) bool { return e.Op == OpSent && w.log[e.Seq-1].Kind == chat.KindMessage })
			who, _, _ := strings.Cut(w.events[i].Client, "/")
			return w.change(func(e *Event) bool { return e.Op == OpFinalHead && strings.HasPrefix(e.Client, who+"/") }, func(e *Event) {
				e.Read, e.Unread = &chat.Cursor{Seq: 1}, e.N
			})
		}},
		{"I11", "a repeat is answered with another place", func(w *world) bool {
			i := findLast(w.events, func(e *Event) bool { return e.Op == OpConflictProbe })
			w.events[i-1].Seq++
			return true
		}},
		{"I11", "another body under a client id is taken", func(w *world) bool {
			return w.change(func(e *Event) bool { return e.Op == OpConflictProbe }, func(e *Event) { e.Code = OK })
		}},
		{"I13", "deleted text is read at rest", func(w *world) bool {
			return w.reveal(func(e *Event) bool { return e.Op == OpFinalPage })
		}},
		{"I13", "deleted text is read on a page begun after", func(w *world) bool {
			for seq := range w.deleted {
				r := w.log[seq-1]
				w.add(Event{Op: OpVersions, Client: "u0/0", T0: w.now + 1, Conversation: w.conv, Target: seq, Records: []Record{r}})
				return true
			}
			return false
		}},
		{"I14", "a username is given twice", func(w *world) bool {
			return w.change(func(e *Event) bool { return e.Op == OpRegister && e.Code != OK }, func(e *Event) { e.Code = OK })
		}},
	}
}

// later reports whether the device of event i shows another record live right after it.
func (w *world) later(i int) bool {
	for j := i + 1; j < len(w.events); j++ {
		e := &w.events[j]
		if e.Client == w.events[i].Client && len(e.Records) > 0 && e.Op != OpPage && e.Op != OpFinalPage {
			return e.Op == OpReceived
		}
	}
	return false
}

func (w *world) acked(id chat.ClientID) bool {
	return find(w.events, func(e *Event) bool { return e.Op == OpSent && e.ClientID == id }) >= 0
}

// reveal shows the text of a deleted message in an event that ok accepts.
func (w *world) reveal(ok func(*Event) bool) bool {
	for i := range w.events {
		if !ok(&w.events[i]) {
			continue
		}
		for j := range w.events[i].Records {
			if r := w.events[i].Records[j]; w.deleted[r.Seq] {
				w.events[i].Records = slices.Clone(w.events[i].Records)
				w.events[i].Records[j].TextHash, w.events[i].Records[j].Deleted = HashText(w.texts[r.Seq]), false
				return true
			}
		}
	}
	return false
}

// presenceMutations break what was told of who is there.
func presenceMutations() []mutation {
	offline := func(e *Event) bool { return e.Op == OpPresence && e.Which == "offline" }
	return []mutation{
		{"I12", "a short reconnect is told", func(w *world) bool {
			return w.change(offline, func(e *Event) { e.T -= int64(8 * time.Second) })
		}},
		{"I12", "offline is told of who stays", func(w *world) bool {
			return w.change(offline, func(e *Event) { e.User = "u2" })
		}},
		{"I12", "a return is never told", func(w *world) bool {
			i := find(w.events, func(e *Event) bool { return e.Op == OpPresence && e.Which == "away" })
			w.events = slices.Delete(w.events, i, i+1)
			return true
		}},
	}
}

func TestEveryMutationIsFoundUnderItsPromise(t *testing.T) {
	const examples = 15 // histories that each mutation is tried on
	worlds := rapid.Custom(generate)
	for _, m := range append(mutations(), presenceMutations()...) {
		t.Run(string(m.promise)+" "+m.name, func(t *testing.T) {
			broken := 0
			for seed := range examples {
				w := worlds.Example(seed)
				if !m.apply(w) {
					continue
				}
				broken++
				if report := judge(t, w.events); report.Counts[m.promise] == 0 {
					t.Fatalf("seed %d: not found under %s:\n%s", seed, m.promise, report.String())
				}
			}
			if broken == 0 {
				t.Errorf("the mutation never applied")
			}
		})
	}
}

func TestWhatIsNoHistoryIsAnError(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":          "hello\n",
		"unknown operation": `{"t":1,"op":"dance","client":"u/1","conversation":"g"}` + "\n",
		"no conversation":   `{"t":1,"op":"send","client":"u/1"}` + "\n",
		"huge seq":          `{"t":1,"op":"cursor","client":"u/1","conversation":"g","seq":9999999999}` + "\n",
		"cut off":           `{"t":1,"op":"send","client":"u/1","conv`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Check(strings.NewReader(text)); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestWriterKeepsEachGoroutinesOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history.jsonl")
	w, err := Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			for n := range 500 {
				w.Write(Event{Op: OpMissed, Client: string(rune('a' + i)), Conversation: "g", Seq: chat.Seq(n + 1)})
			}
		})
	}
	writers.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(path); err == nil {
		t.Error("an existing history was overwritten")
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	report, err := Check(file)
	if err != nil || report.Events != 2000 || report.Missed != 2000 {
		t.Errorf("%d events, %v", report.Events, err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }
func (failing) Close() error              { return nil }

func TestWriterTellsItsFirstFailure(t *testing.T) {
	w := NewWriter(failing{}, time.Now)
	w.Write(Event{Op: OpMissed, Conversation: "g"})
	if err := w.Close(); err == nil {
		t.Error("a history that could not be written was closed without an error")
	}
}
