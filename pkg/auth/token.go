package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

const (
	issuer        = "parley"
	audience      = "parley-access"
	maxTokenBytes = 2048 // ours have about 420
)

// accessClaims are the JWT's content. The library reads and writes it.
type accessClaims struct {
	SessionID string `json:"sid"`
	jwt.RegisteredClaims
}

// signer makes and reads access tokens.
type signer struct {
	current SigningKey
	public  map[string]any // by key number, as the token's header names it
	parser  *jwt.Parser
}

func newSigner(keys []SigningKey, now func() time.Time) (*signer, error) {
	if len(keys) == 0 {
		return nil, errors.New("auth: no signing key")
	}
	s := &signer{current: keys[0], public: make(map[string]any, len(keys))}
	for _, k := range keys {
		s.public[strconv.Itoa(k.Number)] = k.Private.Public()
	}
	s.parser = jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
		jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
		jwt.WithStrictDecoding(), jwt.WithTimeFunc(now))
	return s, nil
}

func (s *signer) sign(c Claims, now time.Time) (directory.Secret, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, accessClaims{
		SessionID: string(c.SessionID),
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: string(c.UserID),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(c.ExpiresAt),
		},
	})
	t.Header["kid"] = strconv.Itoa(s.current.Number)
	text, err := t.SignedString(s.current.Private)
	if err != nil {
		return "", fmt.Errorf("sign access token: %w", err)
	}
	return directory.Secret(text), nil
}

// verify reads an access token: signature first, then issuer, audience and expiry, then the ids.
func (s *signer) verify(token string) (Claims, error) {
	invalid := chat.Errorf(chat.Unauthorized, "access token is not valid")
	if len(token) > maxTokenBytes {
		return Claims{}, invalid
	}
	var c accessClaims
	_, err := s.parser.ParseWithClaims(token, &c, s.keyOf)
	if errors.Is(err, jwt.ErrTokenExpired) {
		return Claims{}, chat.Errorf(chat.Unauthorized, "access token has expired")
	}
	if err != nil {
		return Claims{}, invalid
	}
	user, err := chat.ParseUserID(c.Subject)
	if err != nil {
		return Claims{}, invalid
	}
	session, err := chat.ParseSessionID(c.SessionID)
	if err != nil {
		return Claims{}, invalid
	}
	return Claims{UserID: user, SessionID: session, ExpiresAt: c.ExpiresAt.UTC()}, nil
}

func (s *signer) keyOf(t *jwt.Token) (any, error) {
	number, _ := t.Header["kid"].(string)
	if key, ok := s.public[number]; ok {
		return key, nil
	}
	return nil, jwt.ErrTokenUnverifiable
}

// A refresh token is the session's family and a secret that changes with every use.
const (
	familyBytes  = 16
	refreshBytes = familyBytes + 32
)

type refreshToken [refreshBytes]byte

func newRefreshToken() (t refreshToken) {
	_, _ = rand.Read(t[:])
	return t
}

// next is another token of the same family. It follows from the present one and a secret of the installation,
// so that a rotation whose answer was lost can be repeated.
func (t refreshToken) next(key SigningKey) refreshToken {
	mac := hmac.New(sha256.New, key.Private.Seed())
	_, _ = mac.Write([]byte("parley refresh token")) // hash.Hash never fails
	_, _ = mac.Write(t[:])
	copy(t[familyBytes:], mac.Sum(nil))
	return t
}

func parseRefreshToken(text string) (t refreshToken, err error) {
	if len(text) != base64.RawURLEncoding.EncodedLen(refreshBytes) {
		return t, chat.Errorf(chat.Unauthorized, "refresh token is not valid")
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != refreshBytes {
		return t, chat.Errorf(chat.Unauthorized, "refresh token is not valid")
	}
	return refreshToken(raw), nil
}

func (t refreshToken) text() directory.Secret {
	return directory.Secret(base64.RawURLEncoding.EncodeToString(t[:]))
}

// key is all that the directory learns of the token.
func (t refreshToken) key() directory.RefreshKey {
	return directory.RefreshKey{Family: sha256.Sum256(t[:familyBytes]), Token: sha256.Sum256(t[:])}
}
