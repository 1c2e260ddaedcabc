package auth

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

func TestATicketIsGoodOnce(t *testing.T) {
	w := newWorld(t)
	c := w.claims(t, w.register(t, "alice"))
	text, err := w.Ticket(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var got atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			claims, err := w.Redeem(text)
			if err != nil {
				wantKind(t, "a second use", err, chat.Unauthorized)
				return
			}
			got.Add(1)
			if claims != c {
				t.Errorf("claims %+v, want %+v", claims, c)
			}
		})
	}
	all.Wait()
	if got.Load() != 1 {
		t.Errorf("%d redeemed it", got.Load())
	}
	for _, bad := range []string{"", "abc", text[1:], text + "A", text[:len(text)-1] + "*"} {
		_, err := w.Redeem(bad)
		wantKind(t, "ticket "+bad, err, chat.Unauthorized)
	}
	_, err = w.Verify(text)
	wantKind(t, "a ticket as an access token", err, chat.Unauthorized)
}

func TestATicketEndsWithItsTimeItsTokenAndItsSession(t *testing.T) {
	w := newWorld(t)
	g := w.register(t, "alice")
	c := w.claims(t, g)
	ticket := func() string {
		t.Helper()
		text, err := w.Ticket(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	late, timely := ticket(), ticket()
	w.clock.advance(TicketLife - time.Millisecond)
	if _, err := w.Redeem(timely); err != nil {
		t.Errorf("within its time: %v", err)
	}
	w.clock.advance(time.Millisecond)
	_, err := w.Redeem(late)
	wantKind(t, "after its time", err, chat.Unauthorized)

	w.clock.advance(defaultAccessLife - 2*TicketLife)
	w.clock.advance(TicketLife / 2)
	outlives := ticket()
	w.clock.advance(TicketLife / 2)
	_, err = w.Redeem(outlives)
	wantKind(t, "after its token expired", err, chat.Unauthorized)
	_, err = w.Ticket(t.Context(), c)
	wantKind(t, "a ticket for an expired token", err, chat.Unauthorized)

	g, err = w.Login(t.Context(), "alice", password, "")
	if err != nil {
		t.Fatal(err)
	}
	c = w.claims(t, g)
	revoked := ticket()
	if err := w.Logout(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	_, err = w.Redeem(revoked)
	wantKind(t, "after its session ended", err, chat.Unauthorized)
	_, err = w.Ticket(t.Context(), c)
	wantKind(t, "a ticket for an ended session", err, chat.Unauthorized)
}

func TestTicketsAreBounded(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	held := newTickets(3, newMetrics(nil))
	for range 3 {
		if _, err := held.issue(Claims{}, now); err != nil {
			t.Fatal(err)
		}
	}
	_, err := held.issue(Claims{}, now.Add(TicketLife-time.Millisecond))
	wantKind(t, "one more", err, chat.Unavailable)
	if _, err := held.issue(Claims{}, now.Add(TicketLife)); err != nil {
		t.Errorf("after the others ended: %v", err)
	}
	if held.count() != 1 || len(held.byText) != 1 {
		t.Errorf("%d and %d are held", held.count(), len(held.byText))
	}
}
