package auth

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

func TestRegisterAndLogin(t *testing.T) {
	w := newWorld(t)
	g, err := w.Register(t.Context(), "Alice", "Alice@example.org", password, "  Firefox\x00on\nLinux ")
	if err != nil {
		t.Fatal(err)
	}
	now := w.clock.Now()
	wantUser := directory.User{ID: g.User.ID, Username: "alice", DisplayName: "Alice", CreatedAt: now}
	if diff := cmp.Diff(wantUser, g.User); diff != "" {
		t.Errorf("user (-want +got):\n%s", diff)
	}
	wantSession := directory.Session{ID: g.Session.ID, UserID: g.User.ID, Name: "Firefox on Linux", CreatedAt: now, LastUsedAt: now, ExpiresAt: now.Add(defaultRefreshLife)}
	if diff := cmp.Diff(wantSession, g.Session); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
	if g.ExpiresIn != defaultAccessLife {
		t.Errorf("expires in %v", g.ExpiresIn)
	}
	want := Claims{UserID: g.User.ID, SessionID: g.Session.ID, ExpiresAt: now.Add(defaultAccessLife)}
	if c := w.claims(t, g); c != want {
		t.Errorf("claims are %+v, want %+v", c, want)
	}
	for _, login := range []string{"alice", "ALICE", "alice@EXAMPLE.org"} {
		again, err := w.Login(t.Context(), login, password, "")
		if err != nil {
			t.Fatalf("login %s: %v", login, err)
		}
		if again.User != g.User || again.Session.ID == g.Session.ID || again.Session.Name != unnamedDevice {
			t.Errorf("login %s gave %+v", login, again)
		}
	}
}

func TestRegisterRefusesBadForm(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		what, username, email, password string
		kind                            chat.Kind
	}{
		{"short name", "a", "a@b", password, chat.Invalid},
		{"name with space", "al ice", "a@b", password, chat.Invalid},
		{"no address", "alice", "", password, chat.Invalid},
		{"two @", "alice", "a@b@c", password, chat.Invalid},
		{"short password", "alice", "a@b", "1234567", chat.Invalid},
		{"long password", "alice", "a@b", strings.Repeat("x", 1025), chat.Invalid},
		{"password that is no text", "alice", "a@b", "12345678\xff", chat.InvalidText},
	} {
		_, err := w.Register(t.Context(), c.username, c.email, c.password, "")
		wantKind(t, c.what, err, c.kind)
	}
	for _, good := range []string{"12345678", strings.Repeat("x", 1024), "пароль ж"} {
		if _, err := w.Register(t.Context(), fmt.Sprint("user", len(good)), fmt.Sprint(len(good), "@b"), good, ""); err != nil {
			t.Errorf("a password of %d bytes: %v", len(good), err)
		}
	}
}

func TestAUsernameIsGivenOnce(t *testing.T) {
	w := newWorld(t)
	const rivals = 12
	results := make([]error, rivals)
	var all sync.WaitGroup
	for i := range rivals {
		all.Go(func() {
			_, results[i] = w.Register(t.Context(), []string{"alice", "ALICE"}[i%2], fmt.Sprint("a", i, "@b"), password, "")
		})
	}
	all.Wait()
	won := 0
	for _, err := range results {
		if err == nil {
			won++
			continue
		}
		wantKind(t, "a loser", err, chat.Conflict)
	}
	if won != 1 {
		t.Errorf("%d got the username", won)
	}
}

func TestALoginTellsNotWhichHalfWasWrong(t *testing.T) {
	w := newWorld(t)
	w.register(t, "alice")
	var texts []string
	for _, c := range [][2]string{
		{"alice", "wrong password"},
		{"nobody", password},
		{"nobody@example.org", password},
		{"alice", "short"},
		{"alice", strings.Repeat("x", 2000)},
		{"", password},
		{strings.Repeat("x", 5000), password},
		{"alice", password + "\xff"},
	} {
		_, err := w.Login(t.Context(), c[0], c[1], "")
		wantKind(t, "login "+chat.Clip(c[0]), err, chat.Unauthorized)
		texts = append(texts, err.Error())
	}
	for _, text := range texts {
		if text != texts[0] {
			t.Errorf("one refusal says %q, another %q", texts[0], text)
		}
	}
}

// The cost of a hash is what tells a known login from an unknown one, so both must pay it in the same coin.
func TestAnUnknownLoginCostsAHashOfTheSameParameters(t *testing.T) {
	h := newHasher(DefaultHashParams(), 1, time.Second, newMetrics(nil))
	stored, err := h.hash(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	form := func(hash string) string { return strings.Join(strings.Split(hash, "$")[:4], "$") }
	if form(h.nobody) != form(string(stored)) || len(h.nobody) != len(stored) {
		t.Errorf("an unknown login is compared with %s, a known one with %s", h.nobody, string(stored))
	}
	if ok, err := h.matches(t.Context(), password, ""); ok || err != nil {
		t.Errorf("nobody's password matches: %v, %v", ok, err)
	}
}

func TestRefreshRotates(t *testing.T) {
	w := newWorld(t)
	g := w.register(t, "alice")
	tokens := map[directory.Secret]bool{g.RefreshToken: true}
	for range 5 {
		w.clock.advance(time.Hour)
		next, err := w.Refresh(t.Context(), string(g.RefreshToken), 0)
		if err != nil {
			t.Fatal(err)
		}
		if tokens[next.RefreshToken] || next.User != g.User || next.Session.ID != g.Session.ID {
			t.Fatalf("refreshed to %+v", next)
		}
		if want := w.clock.Now().Add(defaultRefreshLife); !next.Session.ExpiresAt.Equal(want) || !next.Session.LastUsedAt.Equal(w.clock.Now()) {
			t.Errorf("session expires %v, want %v", next.Session.ExpiresAt, want)
		}
		if c := w.claims(t, next); c.SessionID != g.Session.ID || !c.ExpiresAt.Equal(w.clock.Now().Add(defaultAccessLife)) {
			t.Errorf("claims %+v", c)
		}
		tokens[next.RefreshToken], g = true, next
	}
	w.clock.advance(defaultRefreshLife)
	_, err := w.Refresh(t.Context(), string(g.RefreshToken), 0)
	wantKind(t, "after the session expired", err, chat.Unauthorized)
}

func TestAReusedRefreshTokenEndsItsSessionEverywhere(t *testing.T) {
	w := newWorld(t)
	stolen, other := w.register(t, "alice"), w.register(t, "bob")
	thief, err := w.Refresh(t.Context(), string(stolen.RefreshToken), 0)
	if err != nil {
		t.Fatal(err)
	}
	w.revoked.fail(chat.Errorf(chat.Unavailable, "away"))
	_, err = w.Refresh(t.Context(), string(stolen.RefreshToken), 0)
	wantKind(t, "reuse while the news can not be spread", err, chat.Unavailable)
	w.revoked.fail(nil)
	_, err = w.Refresh(t.Context(), string(stolen.RefreshToken), 0)
	wantKind(t, "reuse", err, chat.Unauthorized)
	if !w.revoked.Revoked(stolen.Session.ID) {
		t.Error("the news was not spread")
	}
	_, err = w.Verify(string(thief.AccessToken))
	wantKind(t, "the thief's access token", err, chat.Unauthorized)
	_, err = w.Refresh(t.Context(), string(thief.RefreshToken), 0)
	wantKind(t, "the thief's refresh token", err, chat.Unauthorized)
	if _, err := w.Verify(string(other.AccessToken)); err != nil {
		t.Errorf("another user's token: %v", err)
	}
	if log := w.log.String(); !strings.Contains(log, string(stolen.Session.ID)) || strings.Contains(log, string(stolen.RefreshToken)) {
		t.Errorf("log: %s", log)
	}
}

func TestALostAnswerCanBeAskedForAgainWithinTheLeeway(t *testing.T) {
	w := newWorld(t)
	g := w.register(t, "alice")
	first, err := w.Refresh(t.Context(), string(g.RefreshToken), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	w.clock.advance(59 * time.Second)
	again, err := w.Refresh(t.Context(), string(g.RefreshToken), time.Minute)
	if err != nil || again.RefreshToken != first.RefreshToken || again.Session.ID != g.Session.ID {
		t.Fatalf("within the leeway: %v, same refresh token: %v", err, again.RefreshToken == first.RefreshToken)
	}
	second, err := w.Refresh(t.Context(), string(first.RefreshToken), time.Minute)
	if err != nil || second.RefreshToken == first.RefreshToken {
		t.Fatalf("the token that was given twice: %v", err)
	}
	_, err = w.Refresh(t.Context(), string(g.RefreshToken), time.Minute)
	wantKind(t, "a token from before the last one", err, chat.Unauthorized)
	_, err = w.Verify(string(second.AccessToken))
	wantKind(t, "the session of a reused token", err, chat.Unauthorized)
}

func TestRefreshRefusesWhatItDidNotMake(t *testing.T) {
	w := newWorld(t)
	g := w.register(t, "alice")
	good := string(g.RefreshToken)
	for _, token := range []string{"", "x", good[1:], good + "A", string(g.AccessToken), strings.Repeat("A", len(good)), good[:len(good)-1] + "=", " " + good[1:]} {
		_, err := w.Refresh(t.Context(), token, 0)
		wantKind(t, "token "+chat.Clip(token), err, chat.Unauthorized)
	}
	if _, err := w.Refresh(t.Context(), good, 0); err != nil {
		t.Errorf("the good one after all that: %v", err)
	}
}

// The old token is gone once rotated: the new one has to reach its owner.
func TestRefreshGivesTheTokensAlsoWhenTheNamesCanNotBeRead(t *testing.T) {
	w := newWorld(t)
	g := w.register(t, "alice")
	w.store.account = chat.Errorf(chat.Unavailable, "away")
	next, err := w.Refresh(t.Context(), string(g.RefreshToken), 0)
	if err != nil || next.User.ID != g.User.ID || next.RefreshToken == "" {
		t.Fatalf("got %+v, %v", next, err)
	}
	w.store.account = nil
	if _, err := w.Refresh(t.Context(), string(next.RefreshToken), 0); err != nil {
		t.Errorf("the new token: %v", err)
	}
}

func TestLogoutAndRevoke(t *testing.T) {
	w := newWorld(t)
	first, bob := w.register(t, "alice"), w.register(t, "bob")
	w.clock.advance(time.Second)
	second, err := w.Login(t.Context(), "alice", password, "phone")
	if err != nil {
		t.Fatal(err)
	}
	alice := w.claims(t, first)
	list, err := w.Sessions(t.Context(), alice)
	if err != nil || len(list) != 2 || list[0].ID != second.Session.ID || list[1].ID != first.Session.ID {
		t.Errorf("sessions %+v, %v", list, err)
	}
	wantKind(t, "revoke another's session", w.Revoke(t.Context(), alice, bob.Session.ID), chat.NotFound)
	if _, err := w.Verify(string(bob.AccessToken)); err != nil {
		t.Errorf("bob's token: %v", err)
	}
	w.revoked.fail(errors.New("away"))
	if err := w.Revoke(t.Context(), alice, second.Session.ID); err == nil {
		t.Error("a revocation that could not be spread succeeded")
	}
	w.revoked.fail(nil)
	for range 2 {
		if err := w.Revoke(t.Context(), alice, second.Session.ID); err != nil {
			t.Errorf("revoke: %v", err)
		}
	}
	_, err = w.Verify(string(second.AccessToken))
	wantKind(t, "access token of a revoked session", err, chat.Unauthorized)
	_, err = w.Refresh(t.Context(), string(second.RefreshToken), 0)
	wantKind(t, "refresh token of a revoked session", err, chat.Unauthorized)
	if err := w.Logout(t.Context(), alice); err != nil {
		t.Fatal(err)
	}
	_, err = w.Verify(string(first.AccessToken))
	wantKind(t, "access token after logout", err, chat.Unauthorized)
	if list, err := w.Sessions(t.Context(), alice); err != nil || len(list) != 0 {
		t.Errorf("sessions after all ended: %+v, %v", list, err)
	}
}

func TestAStartSpreadsRevocationsThatWereNot(t *testing.T) {
	w := newWorld(t)
	lost, old, known := w.register(t, "lost"), w.register(t, "old"), w.register(t, "known")
	revoke := func(g Grant) {
		if err := w.store.RevokeSession(t.Context(), g.User.ID, g.Session.ID, w.clock.Now()); err != nil {
			t.Fatal(err)
		}
	}
	revoke(old)
	w.clock.advance(defaultAccessLife + time.Millisecond)
	revoke(lost)
	revoke(known)
	if err := w.revoked.Revoke(t.Context(), known.Session.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.LoadRevocations(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := map[chat.SessionID]int{lost.Session.ID: 1, known.Session.ID: 1}; !cmp.Equal(w.revoked.known, want) {
		t.Errorf("known: %v, want %v", w.revoked.known, want)
	}
	w.revoked.fail(errors.New("away"))
	w.revoked.known = map[chat.SessionID]int{}
	if err := w.LoadRevocations(t.Context()); err == nil {
		t.Error("a start that could not spread revocations succeeded")
	}
}

func TestNothingSecretIsStoredOrLogged(t *testing.T) {
	w := newWorld(t)
	g := w.register(t, "alice")
	a, err := w.store.AccountByLogin(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(a.PasswordHash), "$argon2id$v=19$m=8,t=1,p=1$") {
		t.Errorf("stored password: %s", string(a.PasswordHash))
	}
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v", g, g, a), fmt.Sprintf("%+v %v %s", w.config.Keys, InstallationKey{7}, InstallationKey{7}), w.log.String()} {
		for _, secret := range []string{string(g.AccessToken), string(g.RefreshToken), string(a.PasswordHash), password, "[7 0", "Private"} {
			if strings.Contains(shown, secret) {
				t.Errorf("%q shows %q", shown, secret)
			}
		}
	}
}

func TestAServiceNeedsItsParts(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]Config{
		"directory": {Revocations: w.revoked, Keys: w.config.Keys}, "revocations": {Directory: w.store, Keys: w.config.Keys},
		"keys": {Directory: w.store, Revocations: w.revoked},
	} {
		if _, err := NewService(c); err == nil {
			t.Errorf("made without %s", name)
		}
	}
}
