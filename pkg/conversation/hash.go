package conversation

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/parley-chat/parley/pkg/chat"
)

// BodyHash is the keyed hash that tells a repeated command from another one under the same client id.
// It covers what the command asks for, not who asks, where or under which id; the order in which
// members are named is irrelevant. key is the installation's key for body hashes.
func BodyHash(key []byte, c Command) chat.Hash {
	b := make([]byte, 0, 128+len(c.Text)+32*len(c.Members))
	b = appendField(b, string(c.Op))
	b = appendField(b, c.Type)
	b = appendField(b, c.Text)
	b = binary.BigEndian.AppendUint64(b, uint64(c.ReplyTo))
	b = binary.BigEndian.AppendUint64(b, uint64(c.TargetSeq))
	if c.Name == nil {
		b = append(b, 0)
	} else {
		b = appendField(append(b, 1), *c.Name)
	}
	b = appendField(b, string(c.History))
	b = appendField(b, string(c.Role))
	members := slices.Sorted(slices.Values(c.Members))
	b = binary.BigEndian.AppendUint64(b, uint64(len(members)))
	for _, u := range members {
		b = appendField(b, string(u))
	}
	if c.Op == OpPreference { // hashes of the others stand in logs and stores: they stay as they were
		b = appendPreference(b, c)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	return chat.Hash(mac.Sum(nil)[:len(chat.Hash{})])
}

func appendPreference(b []byte, c Command) []byte {
	b = appendField(b, string(c.About))
	if c.MutedUntil == nil {
		b = append(b, 0)
	} else {
		b = appendField(append(b, 1), string(*c.MutedUntil))
	}
	for _, flag := range []*bool{c.Archived, c.Pinned} {
		switch {
		case flag == nil:
			b = append(b, 0)
		case *flag:
			b = append(b, 1)
		default:
			b = append(b, 2)
		}
	}
	return b
}

// appendField writes length, then bytes: no two bodies share an encoding.
func appendField(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(s)))
	return append(b, s...)
}
