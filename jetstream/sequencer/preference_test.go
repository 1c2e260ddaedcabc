package sequencer

import (
	"fmt"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

func prefer(about chat.ConversationID, muted *chat.MutedUntil, archived, pinned *bool) conversation.Command {
	return hashed(conversation.Command{
		Op: conversation.OpPreference, ConversationID: chat.SelfID(key, user(0)), Actor: user(0), About: about,
		MutedUntil: muted, Archived: archived, Pinned: pinned,
	})
}

// TestPreferencesOutliveARestart stops the owner with more or less of them in the store and in the log's tail.
func TestPreferencesOutliveARestart(t *testing.T) {
	for _, at := range [][2]uint64{{0, 0}, {3, 1}, {5, 3}, {7, 2}, {7, 7}} {
		t.Run(fmt.Sprintf("stored %d, sealed %d", at[0], at[1]), func(t *testing.T) {
			w := newWorld(t)
			c := w.config()
			s := w.start(c)
			self := chat.SelfID(key, user(0))
			s.refused(prefer(groupID(1), nil, nil, new(true)), chat.NotFound)
			s.do(hashed(conversation.Command{Op: conversation.OpCreate, ConversationID: self, Actor: user(0)}))
			s.do(prefer(groupID(1), new(chat.MutedForever), nil, new(true)))
			s.do(w.send(self, user(0), "note"))
			s.do(prefer(groupID(2), nil, new(true), nil))
			s.do(prefer(groupID(1), nil, nil, new(false)))
			s.do(prefer(groupID(2), nil, new(false), nil))
			s.do(prefer(groupID(3), nil, nil, new(true)))
			base := s.Durable().StreamSeq - 7
			before := s.ask(self).State
			w.persist(nil, base+at[0], base+at[1])
			s.stop()
			s = w.start(c)
			if diff := cmp.Diff(before, s.ask(self).State); diff != "" {
				t.Fatalf("before (-), after the restart (+):\n%s", diff)
			}
			if o := s.do(prefer(groupID(1), new(chat.MutedForever), new(false), new(false))); o.Seq != before.Head.Seq {
				t.Fatalf("nothing changed and the answer is %+v at head %+v", o, before.Head)
			}
			w.check()
		})
	}
}

// TestTheMostPreferencesFitAnAnswer holds the bound on them to that of an answer to other processes.
func TestTheMostPreferencesFitAnAnswer(t *testing.T) {
	s := conversation.State{ID: chat.SelfID(key, user(0)), Type: chat.Self}
	for range conversation.MaxPreferences {
		s.Preferences = append(s.Preferences, conversation.Preference{
			About: s.ID, MutedUntil: "2026-01-01T00:00:00.000Z", Archived: true, Pinned: true, Seq: chat.MaxSeq - 1,
		})
	}
	b, err := json.Marshal(remoteAnswer{State: &s})
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > remoteLargest*3/4 {
		t.Errorf("%d bytes, an answer may have %d and holds the tail beside them", len(b), remoteLargest)
	}
}
