package main

import (
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
)

// TestGroupReceiptsReachTheAuthor has one of a group read what another wrote: the author is told, and may ask.
func TestGroupReceiptsReachTheAuthor(t *testing.T) {
	p := serve(t)
	alice, bob, cyd := register(t, p, "alice"), register(t, p, "bob"), register(t, p, "cyd")
	group, err := alice.CreateGroup(t.Context(), newClientID(), "three", []chat.UserID{bob.Account().User.ID, cyd.Account().User.ID})
	if err != nil {
		t.Fatal(err)
	}
	author, reader := watching(t, p.api, alice), watching(t, p.api, bob)
	isConnected := func(e client.Event) bool { _, ok := e.(client.State); return ok }
	author.until(t, "alice connected", 0, 10*time.Second, isConnected)
	reader.until(t, "bob connected", 0, 10*time.Second, isConnected)
	sent, err := alice.Send(t.Context(), group.ID, newClientID(), "who reads this?", 0)
	if err != nil {
		t.Fatal(err)
	}
	reader.Read(group.ID, sent.Seq)
	event, _ := author.until(t, "bob's receipt", 0, 10*time.Second, func(e client.Event) bool {
		r, ok := e.(client.Receipt)
		return ok && r.UserID == bob.Account().User.ID && r.Kind == client.ReceiptRead
	})
	if r, _ := event.(client.Receipt); r.Cursor.Seq != sent.Seq || r.ConversationID != group.ID {
		t.Errorf("receipt %+v of seq %d", r, sent.Seq)
	}
}
