package conversation_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

var people = []string{"alice", "bob", "carol", "dave", "erin"}

func anyUser(t *rapid.T) chat.UserID { return user(rapid.SampledFrom(people).Draw(t, "user")) }

// anyCommand draws a command on one group that is often legal and sometimes not.
func anyCommand(t *rapid.T, id chat.ConversationID, head chat.Seq, ms int64) conversation.Command {
	ops := []conversation.Op{
		conversation.OpSend, conversation.OpSend, conversation.OpEdit, conversation.OpDelete, conversation.OpAdd,
		conversation.OpAdd, conversation.OpRemove, conversation.OpRole, conversation.OpRole, conversation.OpSettings, conversation.OpCreate,
	}
	c := conversation.Command{Op: rapid.SampledFrom(ops).Draw(t, "op"), ConversationID: id, Actor: anyUser(t)}
	if head == 0 {
		c.Op, c.Actor = conversation.OpCreate, user("alice")
	}
	c.ClientID = clientID(ms+int64(rapid.IntRange(-5, 5).Draw(t, "skew")), rapid.IntRange(0, 3).Draw(t, "number"))
	switch c.Op {
	case conversation.OpSend:
		c.Type, c.Text = chat.MessageText, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "text")
		c.ReplyTo = chat.Seq(rapid.Uint64Range(0, uint64(head)+1).Draw(t, "reply"))
	case conversation.OpEdit, conversation.OpDelete:
		c.TargetSeq = chat.Seq(rapid.Uint64Range(1, uint64(head)+1).Draw(t, "target"))
		c.Text = "edited"
	case conversation.OpAdd, conversation.OpRemove, conversation.OpRole:
		c.Members = []chat.UserID{anyUser(t)}
		c.Role = rapid.SampledFrom([]chat.Role{chat.RoleOwner, chat.RoleAdmin, chat.RoleMember}).Draw(t, "role")
	default:
		name := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name")
		c.Name = &name
		c.History = rapid.SampledFrom([]chat.HistoryAccess{"", chat.HistoryAll, chat.HistoryJoined}).Draw(t, "history")
		if c.Op == conversation.OpCreate {
			c.Members = []chat.UserID{user("bob"), user("carol")}
		}
	}
	return c
}

type step struct {
	now     time.Time
	command conversation.Command
}

// stream runs random commands and gives the world and the commands with their times.
func stream(t *rapid.T) (*world, []step) {
	w := newWorld()
	w.limits.GroupMembers = 4
	w.window = rapid.IntRange(1, 8).Draw(t, "window")
	id := conv("g1")
	var steps []step
	for range rapid.IntRange(1, 60).Draw(t, "commands") {
		w.now = w.now.Add(time.Duration(rapid.IntRange(-3, 40*24).Draw(t, "hours")) * time.Hour)
		c := anyCommand(t, id, w.thread(id).state.Head.Seq, w.now.UnixMilli())
		steps = append(steps, step{w.now, c})
		if _, err := w.do(c); err != nil && chat.KindOf(err) == chat.Internal {
			t.Fatalf("%s: %v", c.Op, err)
		}
	}
	return w, steps
}

func TestEveryStreamKeepsTheInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, _ := stream(t)
		var n uint64
		var last logged
		for i, l := range w.thread(conv("g1")).log {
			r, s := l.record, l.after
			if r.Kind == chat.KindMessage {
				n++
			}
			if r.Seq != chat.Seq(i+1) || r.N != n || r.ID <= last.record.ID || l.bucket < last.bucket {
				t.Fatalf("record %d has seq %d n %d (want %d) id %d bucket %d after %d, %d", i, r.Seq, r.N, n, r.ID, l.bucket, last.record.ID, last.bucket)
			}
			if s.Head != (chat.Head{Seq: r.Seq, N: r.N, ID: r.ID}) || s.MemberCount != s.Members.Open() || s.MemberCount > 4 {
				t.Fatalf("state %+v after record %d", s, r.Seq)
			}
			owners := 0
			for _, m := range s.Members {
				if m.Open() && m.Role == chat.RoleOwner {
					owners++
				}
				wellFormed(t, m, s.Head.Seq)
			}
			if s.MemberCount > 0 && owners == 0 {
				t.Fatalf("%d members and no owner after record %d (%s %s)", s.MemberCount, r.Seq, r.Kind, r.Action)
			}
			if !l.before.IsMember(r.SenderID) && r.Kind != chat.KindCreate {
				t.Fatalf("record %d is by %s, who was no member", r.Seq, r.SenderID)
			}
			last = l
		}
	})
}

func wellFormed(t *rapid.T, m conversation.Member, head chat.Seq) {
	end := chat.Seq(0)
	for i, in := range m.Intervals {
		open := in.Removed == 0
		if in.Joined <= end && i > 0 || open && i < len(m.Intervals)-1 || !open && in.Removed <= in.Joined || in.Removed > head || in.Joined > head {
			t.Fatalf("intervals %+v at head %d", m.Intervals, head)
		}
		end = in.Removed
	}
}

func TestVisibilityIsTheIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, _ := stream(t)
		s := w.thread(conv("g1")).state
		u := anyUser(t)
		for seq := range s.Head.Seq + 1 {
			inside := slices.ContainsFunc(s.Visible(u), func(in conversation.Interval) bool { return seq > 0 && in.Contains(seq) })
			if s.CanSee(u, seq) != inside {
				t.Fatalf("seq %d: CanSee %v, Visible %v", seq, s.CanSee(u, seq), inside)
			}
			if inside && !s.IsMember(u) {
				t.Fatalf("%s is no member and sees %d", u, seq)
			}
			if !inside || s.History != chat.HistoryJoined {
				continue
			}
			l := w.thread(conv("g1")).log[seq-1]
			if !l.after.IsMember(u) {
				t.Fatalf("seq %d is visible to %s, who was out then", seq, u)
			}
		}
	})
}

func TestEqualStreamsGiveEqualStates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, steps := stream(t)
		again := newWorld()
		again.limits, again.window = w.limits, w.window
		for _, st := range steps {
			again.now = st.now
			if _, err := again.do(st.command); err != nil && chat.KindOf(err) == chat.Internal {
				t.Fatal(err)
			}
		}
		first, second := w.thread(conv("g1")), again.thread(conv("g1"))
		if diff := cmp.Diff(first.state, second.state); diff != "" {
			t.Fatalf("the same commands again:\n%s", diff)
		}
		folded := conversation.State{}
		for i, l := range first.log {
			if diff := cmp.Diff(l.record, second.log[i].record); diff != "" {
				t.Fatalf("record %d:\n%s", i+1, diff)
			}
			folded = conversation.Apply(folded, l.record, l.bucket)
		}
		if diff := cmp.Diff(first.state, folded); diff != "" {
			t.Fatalf("commands (-), fold of their records (+):\n%s", diff)
		}
	})
}

// TestRowsOfDifferentAgesFoldToOneState takes each row from another moment, as a store that wrote them one by
// one would hold them, and folds the log from the oldest over them; some records come twice.
func TestRowsOfDifferentAgesFoldToOneState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, _ := stream(t)
		th := w.thread(conv("g1"))
		if len(th.log) == 0 {
			return
		}
		moment := func(what string) conversation.State {
			i := rapid.IntRange(-1, len(th.log)-1).Draw(t, what)
			if i < 0 {
				return conversation.State{}
			}
			return th.log[i].after
		}
		sealed := rapid.IntRange(0, len(th.log)).Draw(t, "sealed")
		atLeast := func(s conversation.State) conversation.State {
			if int(s.Head.Seq) < sealed {
				return th.log[sealed-1].after
			}
			return s
		}
		mixed := atLeast(moment("head"))
		settings := atLeast(moment("settings"))
		mixed.Name, mixed.History, mixed.SettingsSeq = settings.Name, settings.History, settings.SettingsSeq
		mixed.Members = conversation.Members{}
		for _, name := range people {
			if m, ok := atLeast(moment(name)).Members[user(name)]; ok {
				mixed.Members[user(name)] = m
			}
		}
		mixed.MemberCount = mixed.Members.Open()
		kept := maps.Clone(mixed.Members)
		folded := mixed
		for _, l := range th.log[sealed:] {
			folded = conversation.Apply(folded, l.record, l.bucket)
			if rapid.Bool().Draw(t, "twice") {
				folded = conversation.Apply(folded, l.record, l.bucket)
			}
		}
		if diff := cmp.Diff(th.state, folded); diff != "" {
			t.Fatalf("full fold (-), over rows of different ages (+):\n%s", diff)
		}
		if diff := cmp.Diff(kept, mixed.Members); diff != "" {
			t.Fatalf("the loaded rows were modified:\n%s", diff)
		}
	})
}

// TestARepeatedRecordChangesNothing applies any earlier record, and the last, to the state at the head.
func TestARepeatedRecordChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, _ := stream(t)
		th := w.thread(conv("g1"))
		for _, l := range th.log {
			if diff := cmp.Diff(th.state, conversation.Apply(th.state, l.record, l.bucket)); diff != "" {
				t.Fatalf("record %d again, at head %d:\n%s", l.record.Seq, th.state.Head.Seq, diff)
			}
		}
	})
}

// TestStatesAreSnapshots fingerprints every state when it is made and looks again at the end.
func TestStatesAreSnapshots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		id := conv("g1")
		var states []conversation.State
		var prints []string
		for range rapid.IntRange(1, 40).Draw(t, "commands") {
			w.now = w.now.Add(time.Second)
			_, err := w.do(anyCommand(t, id, w.thread(id).state.Head.Seq, w.now.UnixMilli()))
			if err != nil && chat.KindOf(err) == chat.Internal {
				t.Fatal(err)
			}
			states = append(states, w.thread(id).state)
			prints = append(prints, fmt.Sprintf("%+v", w.thread(id).state))
		}
		for i, s := range states {
			if got := fmt.Sprintf("%+v", s); got != prints[i] {
				t.Fatalf("state %d changed from\n%s\nto\n%s", i, prints[i], got)
			}
		}
	})
}

// TestRecentIsNeverWrong compares the bounded window with a map of everything.
func TestRecentIsNeverWrong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type key struct {
			u chat.UserID
			c chat.ClientID
		}
		all, times := map[key]conversation.Outcome{}, map[chat.UserID]int64{}
		draw := func() key {
			return key{anyUser(t), clientID(1_000+int64(rapid.IntRange(0, 20).Draw(t, "ms")), rapid.IntRange(0, 2).Draw(t, "number"))}
		}
		for i := range rapid.IntRange(0, 10).Draw(t, "stored") {
			k := draw()
			if _, ok := all[k]; !ok {
				all[k] = conversation.Outcome{Seq: chat.Seq(i + 1)}
				times[k.u] = max(times[k.u], k.c.UnixMilli())
			}
		}
		limit := rapid.IntRange(1, 5).Draw(t, "limit")
		r := conversation.NewRecent(times, limit)
		lastOf := []key{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			k := draw()
			known, prior := r.Lookup(k.u, k.c)
			want, exists := all[k]
			switch {
			case known && prior == nil && exists:
				t.Fatalf("%v was taken as new", k)
			case known && prior != nil && (!exists || *prior != want):
				t.Fatalf("%v gave %v, want %v", k, *prior, want)
			}
			if !exists {
				all[k] = conversation.Outcome{Seq: chat.Seq(i + 100)}
				r.Add(k.u, k.c, all[k])
				lastOf = append(lastOf, k)
			}
			for _, held := range lastOf[max(0, len(lastOf)-limit):] {
				if known, prior := r.Lookup(held.u, held.c); !known || prior == nil {
					t.Fatalf("%v is one of the last %d and not held", held, limit)
				}
			}
		}
	})
}

func TestCursorsNeverPassTheHeadNorGoBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, _ := stream(t)
		th := w.thread(conv("g1"))
		s, u := th.state, anyUser(t)
		at := func(what string) chat.Cursor {
			i := rapid.IntRange(0, len(th.log)).Draw(t, what)
			if i == 0 {
				return chat.Cursor{}
			}
			return chat.Cursor{Seq: th.log[i-1].record.Seq, N: th.log[i-1].record.N}
		}
		stored := chat.Cursors{Read: at("read"), Delivered: at("delivered")}
		a := conversation.Answer{State: s, Sends: map[chat.UserID]chat.Cursor{u: at("sent")}}
		got := a.CursorsOf(u, stored)
		for _, least := range []chat.Cursor{stored.Read, a.Sends[u], s.StartCursor(u)} {
			if got.Read.Seq < least.Seq {
				t.Fatalf("read %v lies before %v", got.Read, least)
			}
		}
		if got.Read.Seq > s.Head.Seq || got.Delivered.Seq > s.Head.Seq || got.Delivered.Seq < got.Read.Seq || got.Delivered.Seq < stored.Delivered.Seq {
			t.Fatalf("cursors %+v at head %d, stored %+v", got, s.Head.Seq, stored)
		}
		if again := a.CursorsOf(u, got); again != got {
			t.Fatalf("%+v merged again is %+v", got, again)
		}
	})
}
