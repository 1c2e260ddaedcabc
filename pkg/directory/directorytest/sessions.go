package directorytest

import (
	"fmt"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

const life = 24 * time.Hour

// family is a session with the tokens that it will have.
type family struct {
	session directory.Session
	name    string
}

func (f family) key(n int) directory.RefreshKey {
	return directory.RefreshKey{Family: hashOf(f.name), Token: hashOf(fmt.Sprint(f.name, n))}
}

// rotate presents token n for token n+1, at a time after the beginning.
func (f family) rotate(t *testing.T, s directory.Store, n int, after time.Duration) (directory.Session, bool, error) {
	t.Helper()
	now := begin.Add(after)
	return s.RotateRefresh(t.Context(), directory.Rotation{Old: f.key(n), Next: f.key(n + 1).Token, Now: now, ExpiresAt: now.Add(life)})
}

func login(t *testing.T, s directory.Store, user chat.UserID, name string, after time.Duration) family {
	t.Helper()
	now := begin.Add(after)
	f := family{name: name, session: directory.Session{
		ID: chat.NewSessionID(), UserID: user, Name: name, CreatedAt: now, LastUsedAt: now, ExpiresAt: now.Add(life),
	}}
	if err := s.CreateSession(t.Context(), f.session, f.key(0)); err != nil {
		t.Fatalf("create session %s: %v", name, err)
	}
	return f
}

func living(t *testing.T, s directory.Store, user chat.UserID, after time.Duration) []directory.Session {
	t.Helper()
	list, err := s.Sessions(t.Context(), user, begin.Add(after))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func sessions(c subject) {
	t, s := c.t, c.s
	alice, bob := create(t, s, "alice"), create(t, s, "bob")
	phone := login(t, s, alice.ID, "phone", 0)
	laptop := login(t, s, alice.ID, "laptop", time.Hour)
	login(t, s, bob.ID, "bob's", 0)
	wantSame(t, "alice's sessions", living(t, s, alice.ID, 2*time.Hour), []directory.Session{laptop.session, phone.session})
	wantSame(t, "after the phone's expired", living(t, s, alice.ID, life), []directory.Session{laptop.session})
	got, err := s.Session(t.Context(), phone.session.ID)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "one session", got, phone.session)
	_, err = s.Session(t.Context(), chat.NewSessionID())
	wantKind(t, "an unknown session", err, chat.NotFound)
}

func revocations(c subject) {
	t, s := c.t, c.s
	alice, bob := create(t, s, "alice"), create(t, s, "bob")
	phone, laptop := login(t, s, alice.ID, "phone", 0), login(t, s, alice.ID, "laptop", 0)
	at := begin.Add(time.Minute)
	wantKind(t, "another's session", s.RevokeSession(t.Context(), bob.ID, phone.session.ID, at), chat.NotFound)
	wantKind(t, "no session", s.RevokeSession(t.Context(), alice.ID, chat.NewSessionID(), at), chat.NotFound)
	for i := range 3 {
		if err := s.RevokeSession(t.Context(), alice.ID, phone.session.ID, at.Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatalf("revoke for the %d. time: %v", i+1, err)
		}
	}
	wantSame(t, "living sessions", living(t, s, alice.ID, time.Hour), []directory.Session{laptop.session})
	want := phone.session
	want.RevokedAt = at
	for since, expected := range map[time.Time][]directory.Session{
		{}: {want}, at: {want}, at.Add(time.Millisecond): nil,
	} {
		got, err := s.RevokedSince(t.Context(), since)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "revoked since "+since.String(), got, expected)
	}
}

func rotation(c subject) {
	t, s := c.t, c.s
	f := login(t, s, create(t, s, "alice").ID, "phone", 0)
	for n := range 5 {
		after := time.Duration(n+1) * time.Hour
		got, reused, err := f.rotate(t, s, n, after)
		if err != nil || reused {
			t.Fatalf("rotation %d: reused %v, %v", n, reused, err)
		}
		want := f.session
		want.LastUsedAt, want.ExpiresAt = begin.Add(after), begin.Add(after+life)
		wantSame(t, "session after a rotation", got, want)
		stored, err := s.Session(t.Context(), f.session.ID)
		if err != nil {
			t.Fatal(err)
		}
		wantSame(t, "stored session", stored, want)
	}
	_, _, err := family{name: "unknown"}.rotate(t, s, 0, time.Hour)
	wantKind(t, "an unknown token", err, chat.Unauthorized)
}

// leeway repeats a rotation whose answer was lost.
func leeway(c subject) {
	t, s := c.t, c.s
	f := login(t, s, create(t, s, "alice").ID, "phone", 0)
	rotate := func(n int, after, leeway time.Duration) (directory.Session, bool, error) {
		now := begin.Add(after)
		return s.RotateRefresh(t.Context(), directory.Rotation{Old: f.key(n), Next: f.key(n + 1).Token, Now: now, ExpiresAt: now.Add(life), Leeway: leeway})
	}
	first, _, err := rotate(0, time.Hour, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	again, reused, err := rotate(0, time.Hour+59*time.Second, time.Minute)
	if err != nil || reused {
		t.Fatalf("within the leeway: reused %v, %v", reused, err)
	}
	wantSame(t, "session after a repeated rotation", again, first)
	if _, reused, err = rotate(1, 2*time.Hour, time.Minute); err != nil || reused {
		t.Fatalf("the token of a repeated rotation: reused %v, %v", reused, err)
	}
	if _, reused, _ = rotate(0, 2*time.Hour+time.Second, time.Minute); !reused {
		t.Error("an older token passes within the leeway of a newer one")
	}
	f = login(t, s, create(t, s, "bob").ID, "phone of bob", 0)
	if _, _, err = rotate(0, time.Hour, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, reused, _ = rotate(0, time.Hour+time.Minute, time.Minute); !reused {
		t.Error("a token passes after its leeway")
	}
	f = login(t, s, create(t, s, "cyd").ID, "phone of cyd", 0)
	if _, _, err = rotate(0, time.Hour, 0); err != nil {
		t.Fatal(err)
	}
	if _, reused, _ = rotate(0, time.Hour, 0); !reused {
		t.Error("a token passes twice without a leeway")
	}
}

func reuse(c subject) {
	t, s := c.t, c.s
	alice := create(t, s, "alice")
	for _, old := range []int{0, 199, 200} { // of 201 tokens, the last one is good
		f := login(t, s, alice.ID, fmt.Sprint("phone", old), 0)
		other := login(t, s, alice.ID, fmt.Sprint("other", old), 0)
		for n := range 201 {
			if _, reused, err := f.rotate(t, s, n, time.Minute); err != nil || reused {
				t.Fatalf("rotation %d: reused %v, %v", n, reused, err)
			}
		}
		got, reused, err := f.rotate(t, s, old, time.Hour)
		if err != nil || !reused || got.ID != f.session.ID || !got.RevokedAt.Equal(begin.Add(time.Hour)) {
			t.Errorf("token %d again: reused %v, session %+v, %v", old, reused, got, err)
		}
		if _, reused, err = f.rotate(t, s, old, 2*time.Hour); err != nil || !reused {
			t.Errorf("token %d a third time: reused %v, %v", old, reused, err)
		}
		_, reused, err = f.rotate(t, s, 201, 2*time.Hour)
		if wantKind(t, "the good token of a revoked session", err, chat.Unauthorized); reused {
			t.Error("the good token of a revoked session counts as reused")
		}
		if _, reused, err := other.rotate(t, s, 0, time.Hour); err != nil || reused {
			t.Errorf("another session of the user: reused %v, %v", reused, err)
		}
		stored, err := s.Session(t.Context(), f.session.ID)
		if err != nil || !stored.RevokedAt.Equal(begin.Add(time.Hour)) {
			t.Errorf("stored as revoked at %v, %v", stored.RevokedAt, err)
		}
	}
}

func endedSessions(c subject) {
	t, s := c.t, c.s
	alice := create(t, s, "alice")
	expired := login(t, s, alice.ID, "expired", 0)
	_, _, err := expired.rotate(t, s, 0, life)
	wantKind(t, "an expired session", err, chat.Unauthorized)
	if _, reused, err := expired.rotate(t, s, 0, life-time.Millisecond); err != nil || reused {
		t.Errorf("a refused rotation used the token up: reused %v, %v", reused, err)
	}
	revoked := login(t, s, alice.ID, "revoked", 0)
	if err := s.RevokeSession(t.Context(), alice.ID, revoked.session.ID, begin); err != nil {
		t.Fatal(err)
	}
	_, reused, err := revoked.rotate(t, s, 0, time.Minute)
	wantKind(t, "a revoked session", err, chat.Unauthorized)
	if reused {
		t.Error("a first use counts as reuse")
	}
}

func oneRotation(c subject) {
	t, s := c.t, c.s
	f := login(t, s, create(t, s, "alice").ID, "phone", 0)
	const rivals = 12
	won := make([]bool, rivals)
	for _, err := range together(rivals, func(i int) error {
		_, reused, err := f.rotate(t, s, 0, time.Minute)
		won[i] = err == nil && !reused
		return err
	}) {
		if err != nil {
			t.Errorf("rotate: %v", err)
		}
	}
	winners := 0
	for _, w := range won {
		if w {
			winners++
		}
	}
	if winners != 1 {
		t.Errorf("%d got a new token for the same one, want exactly 1", winners)
	}
}

func forgotten(c subject) {
	t, s := c.t, c.s
	alice, bob := create(t, s, "alice"), create(t, s, "bob")
	old, others := login(t, s, alice.ID, "old", 0), login(t, s, bob.ID, "bob's", 0)
	recent := login(t, s, alice.ID, "recent", 300*24*time.Hour)
	login(t, s, alice.ID, "new", 365*24*time.Hour)
	_, err := s.Session(t.Context(), old.session.ID)
	wantKind(t, "a session that ended a year ago", err, chat.NotFound)
	for _, f := range []family{recent, others} {
		if _, err := s.Session(t.Context(), f.session.ID); err != nil {
			t.Errorf("session %s is gone: %v", f.name, err)
		}
	}
}
