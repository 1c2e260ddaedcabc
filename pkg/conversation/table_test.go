package conversation_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

func sendCommand() conversation.Command {
	return conversation.Command{
		Op: conversation.OpSend, ConversationID: conv("g1"), Actor: user("alice"), ClientID: clientID(1000, 1),
		Type: chat.MessageText, Text: "hi",
	}
}

// TestCheckRefusesForeignIds covers what scripts can't spell: ids that no parser gave.
func TestCheckRefusesForeignIds(t *testing.T) {
	for name, change := range map[string]func(*conversation.Command){
		"conversation with a wildcard": func(c *conversation.Command) { c.ConversationID = "g*" },
		"empty conversation":           func(c *conversation.Command) { c.ConversationID = "" },
		"user as conversation":         func(c *conversation.Command) { c.ConversationID = chat.ConversationID(user("bob")) },
		"empty actor":                  func(c *conversation.Command) { c.Actor = "" },
		"actor with a dot":             func(c *conversation.Command) { c.Actor = "u.aaaaaaaaaaaaaaaaaaaaaaaaa" },
		"member": func(c *conversation.Command) {
			c.Op, c.Members = conversation.OpAdd, []chat.UserID{"bob"}
		},
		"removed": func(c *conversation.Command) {
			c.Op, c.Members = conversation.OpRemove, []chat.UserID{">"}
		},
		"no operation": func(c *conversation.Command) { c.Op = "" },
	} {
		c := sendCommand()
		change(&c)
		if err := conversation.Check(c); chat.KindOf(err) != chat.Invalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	if err := conversation.Check(sendCommand()); err != nil {
		t.Errorf("a plain send: %v", err)
	}
}

func TestBodyHashCoversTheBodyAndNothingElse(t *testing.T) {
	key := []byte("key")
	base := conversation.BodyHash(key, sendCommand())
	name, empty := "hi", ""
	seen := map[chat.Hash]string{base: "the command itself"}
	for what, change := range map[string]func(*conversation.Command){
		"op":             func(c *conversation.Command) { c.Op = conversation.OpEdit },
		"type":           func(c *conversation.Command) { c.Type = "poem" },
		"text":           func(c *conversation.Command) { c.Text = "hi " },
		"text into type": func(c *conversation.Command) { c.Type, c.Text = "texth", "i" },
		"reply":          func(c *conversation.Command) { c.ReplyTo = 1 },
		"target":         func(c *conversation.Command) { c.TargetSeq = 1 },
		"name":           func(c *conversation.Command) { c.Name = &name },
		"empty name":     func(c *conversation.Command) { c.Name = &empty },
		"history":        func(c *conversation.Command) { c.History = chat.HistoryJoined },
		"role":           func(c *conversation.Command) { c.Role = chat.RoleAdmin },
		"member":         func(c *conversation.Command) { c.Members = []chat.UserID{user("bob")} },
		"members":        func(c *conversation.Command) { c.Members = []chat.UserID{user("bob"), user("carol")} },
	} {
		c := sendCommand()
		change(&c)
		h := conversation.BodyHash(key, c)
		if other, ok := seen[h]; ok {
			t.Errorf("%s hashes as %s", what, other)
		}
		seen[h] = what
	}
	seen = map[chat.Hash]string{}
	for what, change := range map[string]func(*conversation.Command){
		"preference":       func(*conversation.Command) {},
		"about":            func(c *conversation.Command) { c.About = conv("g2") },
		"muted":            func(c *conversation.Command) { c.MutedUntil = new(chat.MutedForever) },
		"not muted":        func(c *conversation.Command) { c.MutedUntil = new(chat.MutedUntil("")) },
		"archived":         func(c *conversation.Command) { c.Archived = new(true) },
		"not archived":     func(c *conversation.Command) { c.Archived = new(false) },
		"pinned":           func(c *conversation.Command) { c.Pinned = new(true) },
		"not pinned":       func(c *conversation.Command) { c.Pinned = new(false) },
		"archived, pinned": func(c *conversation.Command) { c.Archived, c.Pinned = new(true), new(true) },
	} {
		c := conversation.Command{Op: conversation.OpPreference, ConversationID: conv("s1"), Actor: user("alice"), About: conv("g1")}
		change(&c)
		h := conversation.BodyHash(key, c)
		if other, ok := seen[h]; ok {
			t.Errorf("%s hashes as %s", what, other)
		}
		seen[h] = what
	}
	for what, change := range map[string]func(*conversation.Command){
		"client id":    func(c *conversation.Command) { c.ClientID = clientID(5, 5) },
		"actor":        func(c *conversation.Command) { c.Actor = user("bob") },
		"conversation": func(c *conversation.Command) { c.ConversationID = conv("g2") },
		"trace":        func(c *conversation.Command) { c.Trace = "00-1-2-00" },
		"hash":         func(c *conversation.Command) { c.Hash = chat.Hash{1} },
	} {
		c := sendCommand()
		change(&c)
		if conversation.BodyHash(key, c) != base {
			t.Errorf("%s changes the hash", what)
		}
	}
	if conversation.BodyHash([]byte("other"), sendCommand()) == base {
		t.Error("the key does not change the hash")
	}
	one, two := sendCommand(), sendCommand()
	one.Members = []chat.UserID{user("bob"), user("carol")}
	two.Members = []chat.UserID{user("carol"), user("bob")}
	if conversation.BodyHash(key, one) != conversation.BodyHash(key, two) {
		t.Error("the order of members changes the hash")
	}
	want := [][]chat.UserID{{user("bob"), user("carol")}, {user("carol"), user("bob")}}
	if diff := cmp.Diff(want, [][]chat.UserID{one.Members, two.Members}); diff != "" {
		t.Errorf("hashing reordered the commands' members:\n%s", diff)
	}
}

func TestUnknownKindsMoveOnlyTheHead(t *testing.T) {
	w := newWorld()
	name := "g"
	if _, err := w.do(conversation.Command{
		Op: conversation.OpCreate, ConversationID: conv("g1"), Actor: user("alice"),
		ClientID: clientID(1, 1), Name: &name,
	}); err != nil {
		t.Fatal(err)
	}
	s := w.thread(conv("g1")).state
	other := "other"
	r := chat.Record{ConversationID: s.ID, Seq: 2, ID: s.Head.ID + 1, Kind: "poll", SenderID: user("alice"), Name: &other}
	got := conversation.Apply(s, r, s.Bucket)
	want := s
	want.Head, want.BucketCount = chat.Head{Seq: 2, ID: r.ID}, 2
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("after a poll:\n%s", diff)
	}
	fence := chat.Record{Kind: chat.KindFence, Seq: 9}
	if diff := cmp.Diff(s, conversation.Apply(s, fence, 77)); diff != "" {
		t.Errorf("after a fence:\n%s", diff)
	}
}
