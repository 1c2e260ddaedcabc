package terminal

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestTheListShowsUnreadAndTheLastMessageInOrderOfActivity(t *testing.T) {
	d := online(t, said(withBob, 1, bob.ID, "hello"), said(withBob, 2, bob.ID, "are you there?"))
	d.event(client.MessageReceived{Record: said(theGroup, 60, carol.ID, "ride at six"), Source: client.SourceLive})
	want := ` parley  Alice
  Riders                                                 60
  ride at six
  Bob                                                     2
  are you there?
`
	if diff := cmp.Diff(want, d.screen()[:len(want)]); diff != "" {
		t.Errorf("screen (-want +got):\n%s\n%s", diff, d.screen())
	}
	if title := d.model.View().WindowTitle; title != "(62) parley" {
		t.Errorf("the window is called %q", title)
	}
}

func TestAConversationShowsNamesTimesDaysAndMarks(t *testing.T) {
	old := said(withBob, 1, alice.ID, "yesterday")
	old.ID = chat.MakeID(noon.Add(-24*time.Hour).UnixMilli(), 0, 0)
	d := online(t, old, said(withBob, 2, alice.ID, "one"), said(withBob, 3, alice.ID, "two"), said(withBob, 4, bob.ID, "first line\nsecond line"))
	d.event(client.Receipt{ConversationID: withBob, UserID: bob.ID, Kind: client.ReceiptDelivered, Cursor: chat.Cursor{Seq: 2, N: 2}})
	d.event(client.Receipt{ConversationID: withBob, UserID: bob.ID, Kind: client.ReceiptRead, Cursor: chat.Cursor{Seq: 1, N: 1}})
	d.press("enter")
	d.sees("── Sun 1 Mar 2026 ──\n12:00 Alice  yesterday ✓✓ read\n── Mon 2 Mar 2026 ──\n12:02 Alice  one ✓✓ delivered\n" +
		"12:03 Alice  two ✓ sent\n12:04 Bob  first line\n      second line\n")
}

func TestOpeningAConversationReadsItAndAScreenWithoutFocusDoesNot(t *testing.T) {
	d := online(t, said(withBob, 1, bob.ID, "hello"))
	d.press("enter")
	d.wants("read dbob 1")
	d.give(tea.BlurMsg{})
	d.event(client.MessageReceived{Record: said(withBob, 2, bob.ID, "more"), Source: client.SourceLive})
	if d.did("read dbob 2") {
		t.Error("read without anybody before the screen")
	}
	d.give(tea.FocusMsg{})
	d.wants("read dbob 2")
}

func TestASendGoesThroughItsStates(t *testing.T) {
	d := online(t, said(withBob, 1, bob.ID, "hello"))
	d.press("enter")
	d.write("hi bob")
	d.wants("typing dbob true")
	d.press("enter")
	d.wants("send dbob hi bob")
	d.sees("Alice  hi bob … sending")
	sent := d.backend.asked[0]
	record := said(withBob, 2, alice.ID, "hi bob")
	record.ClientID = sent.ClientID
	answer := wire.Sent{ConversationID: withBob, ClientID: sent.ClientID, ID: record.ID, Seq: 2, N: 2}
	d.event(client.Answered{Message: sent, Sent: answer})
	d.event(client.MessageReceived{Record: record, Source: client.SourceSent})
	d.sees("12:02 Alice  hi bob ✓ sent")
	if n := strings.Count(d.screen(), "hi bob"); n != 1 {
		t.Errorf("shown %d times", n)
	}
}

func TestARefusedSendSaysWhyAndIsSentAgainUnderItsId(t *testing.T) {
	d := online(t)
	d.press("enter")
	d.write("hi")
	d.press("enter")
	d.event(client.Answered{Message: d.backend.asked[0], Err: chat.Errorf(chat.Forbidden, "not now")})
	d.sees("✗ failed: not now (ctrl+r sends it again)")
	d.press("ctrl+r")
	d.sees("hi … sending")
	if len(d.backend.asked) != 2 || d.backend.asked[1].ClientID != d.backend.asked[0].ClientID {
		t.Errorf("sent: %v", d.backend.asked)
	}
	d.backend.full = errors.New("outbox is full")
	d.write("kept")
	d.press("enter")
	d.sees("not sent: outbox is full", "> kept")
}

func TestEditsDeletesAndQuotesAreShown(t *testing.T) {
	d := online(t, said(withBob, 1, bob.ID, "helo"), said(withBob, 2, bob.ID, "secret"))
	reply := said(withBob, 3, bob.ID, "that one")
	reply.ReplyTo = 1
	d.event(client.MessageReceived{Record: reply, Source: client.SourceLive})
	edit := chat.Record{ConversationID: withBob, Seq: 4, N: 3, Kind: chat.KindEdit, SenderID: bob.ID, TargetSeq: 1, Text: "hello"}
	gone := chat.Record{ConversationID: withBob, Seq: 5, N: 3, Kind: chat.KindDelete, SenderID: bob.ID, TargetSeq: 2}
	d.event(client.RecordReceived{Record: edit, Source: client.SourceLive})
	d.event(client.RecordReceived{Record: gone, Source: client.SourceLive})
	d.press("enter")
	d.sees("Bob  hello (edited)", "Bob  (deleted)", "┌ Bob: hello\n12:03 Bob  that one")
	d.misses("secret")
}

func TestTypingAndPresenceOfTheOtherPerson(t *testing.T) {
	d := online(t, said(withBob, 1, bob.ID, "hello"))
	d.wants("look [dbob]")
	d.press("enter")
	d.event(client.Presence{UserID: bob.ID, Status: wire.StatusOnline})
	d.event(client.Typing{ConversationID: withBob, UserID: bob.ID, Writing: true})
	d.sees("Bob  online", "Bob is writing…")
	d.event(client.Typing{ConversationID: withBob, UserID: bob.ID})
	d.event(client.Presence{UserID: bob.ID, Status: wire.StatusOffline, LastSeen: noon})
	d.sees("Bob  last seen 12:00")
	d.misses("writing")
}

func TestPageUpBringsOlderMessages(t *testing.T) {
	var newest []chat.Record
	d := sit(t)
	d.event(client.State{Phase: client.Connected, Connection: 1})
	for seq := chat.Seq(41); seq <= 60; seq++ {
		newest = append(newest, said(withBob, seq, bob.ID, fmt.Sprintf("message %d.", seq)))
	}
	for seq := chat.Seq(1); seq <= 40; seq++ {
		d.backend.pages[41] = append(d.backend.pages[41], said(withBob, seq, bob.ID, fmt.Sprintf("message %d.", seq)))
	}
	for _, r := range newest {
		d.event(client.MessageReceived{Record: r, Source: client.SourceSync})
	}
	d.event(client.Synced{Conversation: direct(withBob, bob.ID, 60)})
	d.event(client.CaughtUp{})
	d.press("enter")
	d.sees("message 60.", "message 50.")
	d.press("pgup", "pgup", "pgup")
	d.wants("older dbob 41")
	d.sees("message 20.", "message 30.", "PgDn for newer")
	d.misses("message 60.")
	before := d.screen()
	d.event(client.MessageReceived{Record: said(withBob, 61, bob.ID, "news"), Source: client.SourceLive})
	if diff := cmp.Diff(strings.Split(before, "\n")[2:8], strings.Split(d.screen(), "\n")[2:8]); diff != "" {
		t.Errorf("what is read moved:\n%s", diff)
	}
	d.sees("↓ 1 new, PgDn")
	d.press("pgup", "pgup", "pgup", "pgup", "pgup")
	d.sees("message 1.")
	d.press("pgdown", "pgdown", "pgdown", "pgdown", "pgdown", "pgdown", "pgdown", "pgdown")
	d.sees("news")
	d.wants("read dbob 61")
}

func TestHistoryThatFailsOrIsEmptyIsNotAskedForEver(t *testing.T) {
	for name, broken := range map[string]error{"fails": errors.New("no route"), "empty": nil} {
		d := sit(t)
		d.backend.broken = broken
		d.event(client.State{Phase: client.Connected, Connection: 1})
		d.event(client.Synced{Conversation: direct(withBob, bob.ID, 7)})
		d.event(client.CaughtUp{})
		d.press("enter")
		d.write("abc")
		if n := strings.Count(strings.Join(d.backend.calls, "\n"), "older dbob 0"); n != 1 {
			t.Errorf("%s: asked %d times", name, n)
		}
		d.press("pgup")
		if n := strings.Count(strings.Join(d.backend.calls, "\n"), "older dbob 0"); n != 2 {
			t.Errorf("%s: after PageUp asked %d times", name, n)
		}
	}
}

func TestAGapDropsWhatIsBelowIt(t *testing.T) {
	d := online(t, said(withBob, 1, bob.ID, "old one"))
	d.event(client.Gap{ConversationID: withBob, After: 1, Before: 300})
	d.event(client.MessageReceived{Record: said(withBob, 300, bob.ID, "new one"), Source: client.SourceSync})
	d.backend.pages[300] = []chat.Record{said(withBob, 1, bob.ID, "old one"), said(withBob, 299, bob.ID, "between")}
	d.press("enter")
	d.wants("older dbob 300")
	d.sees("old one", "between", "new one")
}

func TestANewDirectConversationBySearch(t *testing.T) {
	d := online(t)
	d.press("ctrl+n")
	d.write("bo")
	d.sees("Bob  @bob")
	d.press("enter")
	d.wants("direct ubob")
	d.sees("Nothing has been said yet.", "enter send")
}

func TestANewGroupNeedsPeopleThatExist(t *testing.T) {
	d := online(t)
	d.press("ctrl+g")
	d.write("Riders")
	d.press("enter")
	d.write("bob, nobody")
	d.press("enter")
	d.sees("nobody is called nobody")
	for range len("nobody") {
		d.press("backspace")
	}
	d.write("@carol")
	d.press("enter")
	d.wants("group Riders [ubob ucarol]")
	d.sees("Riders  3 members")
}

func TestMembersWhoComeAndGoAreTold(t *testing.T) {
	d := online(t)
	d.event(client.Synced{Conversation: wire.Conversation{ID: theGroup, Type: chat.Group, Name: "Two", MemberCount: 2, Head: chat.Head{Seq: 1}}})
	added := said(theGroup, 2, bob.ID, "")
	added.Kind, added.Type, added.N, added.Action, added.UserIDs = chat.KindMember, "", 0, chat.ActionAdded, []chat.UserID{carol.ID}
	d.event(client.RecordReceived{Record: added, Source: client.SourceLive})
	d.wants("conversation ggroup")
	d.press("enter")
	d.sees("Riders  3 members", "Bob added carol")
	d.event(client.Gone{ConversationID: theGroup})
	d.sees("you are not in that conversation any more")
	d.misses("Riders")
}

func TestTheConnectionIsToldCalmly(t *testing.T) {
	d := sit(t)
	d.sees("connecting…")
	d = online(t, said(withBob, 1, bob.ID, "hello"))
	d.press("enter")
	d.misses("connecting", "offline")
	d.event(client.State{Phase: client.Waiting, Connection: 1, Err: errors.New("refused"), Wait: time.Second})
	d.sees("offline, trying again…", "hello")
	d.event(client.State{Phase: client.Connected, Connection: 2})
	d.misses("offline")
	d.give(Ended(&client.StoppedError{Err: errors.New("revoked")}))
	d.sees("logged out", "This login has ended")
}

func TestEverySizeIsFilledExactly(t *testing.T) {
	d := online(t, said(withBob, 1, bob.ID, strings.Repeat("long words and 田中さん ", 40)), said(withBob, 2, alice.ID, "short"))
	d.press("enter")
	for w := 1; w < 130; w += 3 {
		for h := 1; h < 40; h += 3 {
			d.give(tea.WindowSizeMsg{Width: w, Height: h})
			lines := strings.Split(d.model.View().Content, "\n")
			if w >= leastWide && h >= leastHigh && len(lines) != h {
				t.Fatalf("%dx%d has %d lines", w, h, len(lines))
			}
			for _, line := range lines {
				if w >= 42 && ansi.StringWidth(line) > w {
					t.Fatalf("%dx%d: a line of %d columns: %q", w, h, ansi.StringWidth(line), line)
				}
			}
		}
	}
}

func TestWithoutColoursNoneAreWritten(t *testing.T) {
	d := online(t, said(withBob, 1, bob.ID, "hello"), said(withBob, 2, alice.ID, "hi"))
	d.press("enter")
	for _, code := range []string{"[32m", "[1;3", "[31m", ";4"} {
		if strings.Contains(d.model.View().Content, code) {
			t.Errorf("%q is written", code)
		}
	}
	d.model.style.colours = true
	if !strings.Contains(d.model.View().Content, "[1;36m") {
		t.Error("no colours at all")
	}
}

func TestHelpAndLeaving(t *testing.T) {
	d := online(t, said(withBob, 1, bob.ID, "hello"))
	d.press("?")
	d.sees("ctrl+n        a new conversation", "any key goes back")
	d.press("esc", "enter")
	d.write("why?")
	d.sees("> why?")
	d.backend.unsent = 2
	d.press("ctrl+c")
	d.sees("2 messages are not sent yet")
	if _, cmd := d.model.Update(tea.KeyPressMsg{Code: 'c', Mod: tea.ModCtrl}); cmd == nil {
		t.Error("the second ctrl+c does not leave")
	}
}

func TestAwayIsSaidAfterMinutesWithoutAKey(t *testing.T) {
	d := online(t)
	d.now = d.now.Add(awayAfter)
	d.model.rest()
	d.wants("away true")
	d.press("down")
	d.wants("away false")
}

func TestAConversationKeepsItsBound(t *testing.T) {
	d := online(t)
	r := d.model.room(withBob)
	for seq := chat.Seq(1); seq <= 3*mostItems; seq++ {
		r.take(said(withBob, seq, bob.ID, "x"), alice.ID)
	}
	if len(r.items) != mostItems || r.low != 2*mostItems+1 || !r.more {
		t.Errorf("%d items from %d, more: %t", len(r.items), r.low, r.more)
	}
}
