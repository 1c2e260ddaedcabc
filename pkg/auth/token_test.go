package auth

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parley-chat/parley/pkg/chat"
)

// forge signs claims with any method, key and header.
func forge(t *testing.T, method jwt.SigningMethod, key any, kid any, change func(*accessClaims)) string {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := accessClaims{SessionID: string(chat.NewSessionID()), RegisteredClaims: jwt.RegisteredClaims{
		Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: string(chat.NewUserID()),
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(time.Minute)),
	}}
	if change != nil {
		change(&c)
	}
	token := jwt.NewWithClaims(method, c)
	if kid != nil {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestVerifyAcceptsOurTokensAlone(t *testing.T) {
	w := newWorld(t)
	ours := InstallationKey{1}.Signing(0).Private
	theirs := InstallationKey{2}.Signing(0).Private
	same := func(*accessClaims) {}
	if _, err := w.Verify(forge(t, jwt.SigningMethodEdDSA, ours, "0", same)); err != nil {
		t.Fatalf("the forger's own good token: %v", err)
	}
	public := []byte(ours.Public().(ed25519.PublicKey))
	good := forge(t, jwt.SigningMethodEdDSA, ours, "0", same)
	parts := strings.Split(good, ".")
	other := strings.Split(forge(t, jwt.SigningMethodEdDSA, ours, "0", same), ".")
	for what, token := range map[string]string{
		"nothing":                    "",
		"no token":                   "abc",
		"two parts":                  parts[0] + "." + parts[1],
		"four parts":                 good + ".",
		"no signature":               parts[0] + "." + parts[1] + ".",
		"another's signature":        parts[0] + "." + parts[1] + "." + other[2],
		"another's claims":           parts[0] + "." + other[1] + "." + parts[2],
		"padding":                    good + "=",
		"spare bits set":             good[:len(good)-1] + string(good[len(good)-1]+1),
		"space":                      good + " ",
		"alg none":                   forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "0", same),
		"HMAC with the public key":   forge(t, jwt.SigningMethodHS256, public, "0", same),
		"another installation's key": forge(t, jwt.SigningMethodEdDSA, theirs, "0", same),
		"no key number":              forge(t, jwt.SigningMethodEdDSA, ours, nil, same),
		"unknown key number":         forge(t, jwt.SigningMethodEdDSA, ours, "1", same),
		"key number that is no text": forge(t, jwt.SigningMethodEdDSA, ours, 0, same),
		"other issuer":               forge(t, jwt.SigningMethodEdDSA, ours, "0", func(c *accessClaims) { c.Issuer = "other" }),
		"other audience":             forge(t, jwt.SigningMethodEdDSA, ours, "0", func(c *accessClaims) { c.Audience = jwt.ClaimStrings{"other"} }),
		"no audience":                forge(t, jwt.SigningMethodEdDSA, ours, "0", func(c *accessClaims) { c.Audience = nil }),
		"no expiry":                  forge(t, jwt.SigningMethodEdDSA, ours, "0", func(c *accessClaims) { c.ExpiresAt = nil }),
		"bad user":                   forge(t, jwt.SigningMethodEdDSA, ours, "0", func(c *accessClaims) { c.Subject = "u*" }),
		"no session":                 forge(t, jwt.SigningMethodEdDSA, ours, "0", func(c *accessClaims) { c.SessionID = "" }),
		"too long":                   forge(t, jwt.SigningMethodEdDSA, ours, "0", func(c *accessClaims) { c.ID = strings.Repeat("x", maxTokenBytes) }),
	} {
		_, err := w.Verify(token)
		wantKind(t, what, err, chat.Unauthorized)
	}
}

func TestAnAccessTokenExpires(t *testing.T) {
	w := newWorld(t)
	g := w.register(t, "alice")
	w.clock.advance(defaultAccessLife - time.Millisecond)
	w.claims(t, g)
	w.clock.advance(time.Millisecond)
	_, err := w.Verify(string(g.AccessToken))
	if wantKind(t, "an expired token", err, chat.Unauthorized); !strings.Contains(err.Error(), "expired") {
		t.Errorf("it does not say that it expired: %v", err)
	}
}

func TestSigningKeysRotate(t *testing.T) {
	w := newWorld(t)
	old := w.register(t, "alice")
	turned := func(current int) *Service {
		c := w.config
		c.Keys = InstallationKey{1}.SigningKeys(current)
		s, err := NewService(c)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	next := turned(1)
	if _, err := next.Verify(string(old.AccessToken)); err != nil {
		t.Errorf("a token of the key before: %v", err)
	}
	fresh, err := next.Login(t.Context(), "alice", password, "")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Verify(string(fresh.AccessToken))
	wantKind(t, "a token of a key not known yet", err, chat.Unauthorized)
	_, err = turned(2).Verify(string(old.AccessToken))
	wantKind(t, "a token of the key before the last", err, chat.Unauthorized)
}

// FuzzToken: no text that the signer did not make is ever accepted, and none brings Verify down.
func FuzzToken(f *testing.F) {
	key := InstallationKey{1}.Signing(0)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s, err := newSigner([]SigningKey{key}, func() time.Time { return now })
	if err != nil {
		f.Fatal(err)
	}
	want := Claims{UserID: chat.UserID("u" + strings.Repeat("a", 26)), SessionID: chat.SessionID("w" + strings.Repeat("a", 26)), ExpiresAt: now.Add(time.Minute)}
	good, err := s.sign(want, now)
	if err != nil {
		f.Fatal(err)
	}
	if got, err := s.verify(string(good)); err != nil || got != want {
		f.Fatalf("its own token: %+v, %v", got, err)
	}
	parts := strings.Split(string(good), ".")
	f.Add(string(good))
	f.Add(parts[0] + "." + parts[1] + ".")
	f.Add(parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":1e400}`)) + "." + parts[2])
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + ".")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"EdDSA","kid":["0"]}`)) + "." + parts[1] + "." + parts[2])
	f.Fuzz(func(t *testing.T, token string) {
		c, err := s.verify(token)
		if err == nil && token != string(good) {
			t.Fatalf("accepted %q as %+v", token, c)
		}
		if err != nil && chat.KindOf(err) != chat.Unauthorized {
			t.Fatalf("%q is %v, not unauthorized", token, err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	s, err := newSigner([]SigningKey{InstallationKey{1}.Signing(0)}, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now()
	token, err := s.sign(Claims{UserID: chat.NewUserID(), SessionID: chat.NewSessionID(), ExpiresAt: now.Add(time.Hour)}, now)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := s.verify(string(token)); err != nil {
			b.Fatal(err)
		}
	}
}
