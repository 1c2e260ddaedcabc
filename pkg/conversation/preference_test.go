package conversation_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

var abouts = []chat.ConversationID{conv("g1"), conv("g2"), conv("d1"), conv("s1")}

// preferring draws a change of what alice wants, mostly small, so that defaults come and go.
func preferring(t *rapid.T) conversation.Command {
	c := conversation.Command{
		Op: conversation.OpPreference, ConversationID: conv("s1"), Actor: user("alice"),
		About: rapid.SampledFrom(abouts).Draw(t, "about"),
	}
	fields := rapid.IntRange(1, 7).Draw(t, "fields")
	if fields&1 != 0 {
		c.MutedUntil = new(rapid.SampledFrom([]chat.MutedUntil{"", chat.MutedForever, "2026-03-01T00:00:00.000Z"}).Draw(t, "muted"))
	}
	if fields&2 != 0 {
		c.Archived = new(rapid.Bool().Draw(t, "archived"))
	}
	if fields&4 != 0 {
		c.Pinned = new(rapid.Bool().Draw(t, "pinned"))
	}
	return c
}

// notes runs commands on one self conversation: preferences and, here and there, a message.
func notes(t *rapid.T) *thread {
	w := newWorld()
	do := func(c conversation.Command) {
		if _, err := w.do(c); err != nil {
			t.Fatalf("%s: %v", c.Op, err)
		}
	}
	do(conversation.Command{Op: conversation.OpCreate, ConversationID: conv("s1"), Actor: user("alice")})
	for i := range rapid.IntRange(1, 40).Draw(t, "commands") {
		w.now = w.now.Add(time.Minute)
		if rapid.IntRange(0, 4).Draw(t, "what") > 0 {
			do(preferring(t))
			continue
		}
		do(conversation.Command{
			Op: conversation.OpSend, ConversationID: conv("s1"), Actor: user("alice"), ClientID: clientID(w.now.UnixMilli(), i),
			Type: chat.MessageText, Text: "note",
		})
	}
	return w.thread(conv("s1"))
}

// TestPreferencesAreTheLastWord compares the state with the plain reading of the log: per conversation and field
// the last record that names it. No record may be needless, and none may count as a message.
func TestPreferencesAreTheLastWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[chat.ConversationID]conversation.Preference{}
		for _, l := range notes(t).log {
			if l.record.Kind != chat.KindPreference {
				if diff := cmp.Diff(l.before.Preferences, l.after.Preferences); diff != "" {
					t.Fatalf("a %s changed preferences:\n%s", l.record.Kind, diff)
				}
				continue
			}
			r := l.record
			before := want[r.About]
			p := before
			p.About = r.About
			if r.MutedUntil != nil {
				p.MutedUntil = *r.MutedUntil
			}
			if r.Archived != nil {
				p.Archived = *r.Archived
			}
			if r.Pinned != nil {
				p.Pinned = *r.Pinned
			}
			if before.About = r.About; p == before || r.N != l.before.Head.N {
				t.Fatalf("record %d: %+v after %+v, n %d after %d", r.Seq, p, before, r.N, l.before.Head.N)
			}
			p.Seq = r.Seq
			want[r.About] = p
			var shown conversation.Preferences
			for _, about := range slices.Sorted(maps.Keys(want)) {
				if !want[about].IsDefault() {
					shown = append(shown, want[about])
				}
			}
			if diff := cmp.Diff(shown, l.after.Preferences, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("after record %d:\n%s", r.Seq, diff)
			}
		}
	})
}

// TestPreferencesOfDifferentAgesFoldToOneState takes each row from another moment, as a store that wrote them one
// by one would hold them, and folds the log over them from the oldest moment on; some records come twice.
func TestPreferencesOfDifferentAgesFoldToOneState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		th := notes(t)
		sealed := rapid.IntRange(1, len(th.log)).Draw(t, "sealed")
		moment := func(what string) conversation.State {
			return th.log[rapid.IntRange(sealed, len(th.log)).Draw(t, what)-1].after
		}
		mixed := moment("head")
		mixed.Preferences = nil
		for i, about := range slices.Sorted(slices.Values(abouts)) {
			if p := moment(fmt.Sprint("row", i)).Preferences.Of(about); !p.IsDefault() {
				mixed.Preferences = append(mixed.Preferences, p)
			}
		}
		kept := slices.Clone(mixed.Preferences)
		folded := mixed
		for _, l := range th.log[sealed:] {
			folded = conversation.Apply(folded, l.record, l.bucket)
			if rapid.Bool().Draw(t, "twice") {
				folded = conversation.Apply(folded, l.record, l.bucket)
			}
		}
		if diff := cmp.Diff(th.state, folded, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("full fold (-), over rows of different ages (+):\n%s", diff)
		}
		if diff := cmp.Diff(kept, mixed.Preferences); diff != "" {
			t.Fatalf("the loaded rows were modified:\n%s", diff)
		}
	})
}

func TestStatesWithPreferencesAreSnapshots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		th := notes(t)
		var prints []string
		folded := conversation.State{}
		var states []conversation.State
		for _, l := range th.log {
			folded = conversation.Apply(folded, l.record, l.bucket)
			states, prints = append(states, folded), append(prints, fmt.Sprintf("%+v", folded))
		}
		for i, s := range states {
			if got := fmt.Sprintf("%+v", s); got != prints[i] {
				t.Fatalf("state %d changed from\n%s\nto\n%s", i, prints[i], got)
			}
		}
		if diff := cmp.Diff(th.state, folded, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("commands (-), fold of their records (+):\n%s", diff)
		}
	})
}

// full is a self conversation whose person wants something of as many conversations as are allowed.
func full() conversation.State {
	w := newWorld()
	s := w.thread(conv("s1")).state
	s = conversation.Apply(s, chat.Record{
		ConversationID: conv("s1"), Seq: 1, ID: 1, Kind: chat.KindCreate, Type: string(chat.Self),
		Members: []chat.MemberEntry{{UserID: user("alice"), Role: chat.RoleMember}},
	}, 0)
	for i := range conversation.MaxPreferences {
		s.Preferences = append(s.Preferences, conversation.Preference{About: conv(fmt.Sprint("g", i)), Pinned: true, Seq: 1})
	}
	slices.SortFunc(s.Preferences, func(a, b conversation.Preference) int { return strings.Compare(string(a.About), string(b.About)) })
	return s
}

func TestPreferencesAreBounded(t *testing.T) {
	s := full()
	command := func(about chat.ConversationID, pinned bool) conversation.Command {
		return conversation.Command{Op: conversation.OpPreference, ConversationID: conv("s1"), Actor: user("alice"), About: about, Pinned: &pinned}
	}
	decide := func(c conversation.Command) (conversation.Verdict, error) {
		return conversation.Decide(s, c, conversation.Facts{}, conversation.Limits{})
	}
	if _, err := decide(command(conv("g another"), true)); chat.KindOf(err) != chat.Conflict {
		t.Errorf("one more: %v, want a conflict", err)
	}
	if v, err := decide(command(conv("g another"), false)); err != nil || v.Standing == nil {
		t.Errorf("one more that wants nothing: %+v, %v", v, err)
	}
	more := command(conv("g7"), true)
	more.Archived = new(true)
	if v, err := decide(more); err != nil || v.Record == nil {
		t.Errorf("a change of one of them: %+v, %v", v, err)
	}
	v, err := decide(command(conv("g7"), false))
	if err != nil || v.Record == nil {
		t.Fatalf("the end of one of them: %+v, %v", v, err)
	}
	bucket := conversation.Stamp(s, v.Record, 2)
	s = conversation.Apply(s, *v.Record, bucket)
	if v, err := decide(command(conv("g another"), true)); err != nil || v.Record == nil {
		t.Errorf("one more in its place: %+v, %v", v, err)
	}
}

// BenchmarkApplyPreference is the dearest case: all rows that are allowed are copied.
func BenchmarkApplyPreference(b *testing.B) {
	s := full()
	r := chat.Record{ConversationID: conv("s1"), Seq: 2, ID: 2, Kind: chat.KindPreference, About: conv("g7"), Archived: new(true)}
	for b.Loop() {
		conversation.Apply(s, r, 0)
	}
}
