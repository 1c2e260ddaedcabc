package directorytest

import (
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

func lastSeen(c subject) {
	t, s := c.t, c.s
	alice, bob, eve := create(t, s, "alice"), create(t, s, "bob"), create(t, s, "eve")
	at := func(d time.Duration) time.Time { return begin.Add(d) }
	read := func(what string, want map[chat.UserID]time.Time) {
		t.Helper()
		got, err := s.LastSeen(t.Context(), []chat.UserID{alice.ID, bob.ID, eve.ID, chat.NewUserID()})
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, what, got, want)
	}
	put := func(rows ...directory.Seen) {
		t.Helper()
		if err := s.SetLastSeen(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
	}
	read("nobody was seen", map[chat.UserID]time.Time{})
	put(directory.Seen{User: alice.ID, At: at(time.Minute)}, directory.Seen{User: bob.ID, At: at(time.Hour)}, directory.Seen{User: chat.NewUserID(), At: at(0)})
	put()
	read("two were seen", map[chat.UserID]time.Time{alice.ID: at(time.Minute), bob.ID: at(time.Hour)})
	put(directory.Seen{User: alice.ID, At: at(2 * time.Minute)}, directory.Seen{User: bob.ID, At: at(time.Second)})
	read("a time never goes back", map[chat.UserID]time.Time{alice.ID: at(2 * time.Minute), bob.ID: at(time.Hour)})
	phone := login(t, s, eve.ID, "eve's phone", time.Minute)
	login(t, s, eve.ID, "eve's laptop", 2*time.Minute)
	read("a login is a sign of life", map[chat.UserID]time.Time{alice.ID: at(2 * time.Minute), bob.ID: at(time.Hour), eve.ID: at(2 * time.Minute)})
	if _, _, err := phone.rotate(t, s, 0, 3*time.Hour); err != nil {
		t.Fatal(err)
	}
	read("a refresh is one too", map[chat.UserID]time.Time{alice.ID: at(2 * time.Minute), bob.ID: at(time.Hour), eve.ID: at(3 * time.Hour)})
}
