package chat

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash/fnv"
	"strconv"
	"strings"
	"time"
)

// UserID names a person or a bot: "u" and 26 characters of a-z2-7 (128 bits).
type UserID string

// ConversationID names a conversation: "d" direct, "g" group or "s" self, then 26 characters.
type ConversationID string

// SessionID names one login on one device: "w" and 26 characters.
type SessionID string

// Type is what a conversation is.
type Type string

// The types of conversation.
const (
	Direct Type = "direct"
	Group  Type = "group"
	Self   Type = "self"
)

const idLength = 27

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ParseUserID accepts exactly the ids this installation could have made.
func ParseUserID(s string) (UserID, error) {
	if !validID(s, "u") {
		return "", Errorf(Invalid, "user id %q is malformed", Clip(s))
	}
	return UserID(s), nil
}

// ParseConversationID accepts exactly the ids an installation can make.
func ParseConversationID(s string) (ConversationID, error) {
	if !validID(s, "dgs") {
		return "", Errorf(Invalid, "conversation id %q is malformed", Clip(s))
	}
	return ConversationID(s), nil
}

// ParseSessionID accepts exactly the ids an installation can make.
func ParseSessionID(s string) (SessionID, error) {
	if !validID(s, "w") {
		return "", Errorf(Invalid, "session id %q is malformed", Clip(s))
	}
	return SessionID(s), nil
}

func validID(s, letters string) bool {
	if len(s) != idLength || !strings.Contains(letters, s[:1]) {
		return false
	}
	for _, c := range []byte(s[1:]) {
		if (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	// 26 characters hold 130 bits: the last two are always zero in an id we made.
	return strings.IndexByte("aeimquy4", s[idLength-1]) >= 0
}

// Clip shortens foreign text for an error message; it never cuts inside a character.
func Clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// Type tells what the id's letter says; an id made by parsing always has one.
func (c ConversationID) Type() Type {
	if c == "" {
		return ""
	}
	switch c[0] {
	case 'd':
		return Direct
	case 's':
		return Self
	default:
		return Group
	}
}

// Partition is the number of the partition that a conversation belongs to, of count partitions.
func (c ConversationID) Partition(count int) int {
	h := fnv.New32a()
	h.Write([]byte(c))
	return int(h.Sum32() % uint32(count)) // count is a small positive number
}

// NewUserID makes a random id.
func NewUserID() UserID { return UserID("u" + random()) }

// NewSessionID makes a random id.
func NewSessionID() SessionID { return SessionID("w" + random()) }

func random() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return encoding.EncodeToString(b[:])
}

// DirectID is the one direct conversation of two people; the order of the arguments is irrelevant.
// key is the installation's key for conversation ids.
func DirectID(key []byte, a, b UserID) ConversationID {
	if b < a {
		a, b = b, a
	}
	return ConversationID("d" + derived(key, "direct", string(a), string(b)))
}

// SelfID is a user's conversation with themself.
func SelfID(key []byte, u UserID) ConversationID {
	return ConversationID("s" + derived(key, "self", string(u)))
}

// GroupID is the group a creator made under a client id: a repeated create is the same group.
func GroupID(key []byte, creator UserID, client ClientID) ConversationID {
	return ConversationID("g" + derived(key, "group", string(creator), client.String()))
}

func derived(key []byte, parts ...string) string {
	mac := hmac.New(sha256.New, key)
	for _, p := range parts {
		mac.Write([]byte(p))
		mac.Write([]byte{0})
	}
	return encoding.EncodeToString(mac.Sum(nil)[:16])
}

// Seq numbers the records of a conversation, dense from 1. A seq is below MaxSeq.
type Seq uint64

// MaxSeq bounds every seq: a position at or above it is an ID.
const MaxSeq = 1 << 40

// ID is a record's time-ordered name over all conversations: 42 bits of milliseconds since 2025-01-01,
// 14 of partition, 8 of counter. In JSON it is a decimal string.
type ID uint64

const (
	idCounterBits   = 8
	idPartitionBits = 14
	idTimeShift     = idCounterBits + idPartitionBits
	idEpochMillis   = 1735689600000 // 2025-01-01T00:00:00Z
)

// MakeID builds the id of time t (milliseconds since the Unix epoch), partition and counter.
func MakeID(unixMillis int64, partition, counter int) ID {
	ms := max(unixMillis-idEpochMillis, 0)
	return ID(uint64(ms)<<idTimeShift | uint64(partition)<<idCounterBits | uint64(counter)) // all parts are non-negative
}

// NextID is the smallest id of the partition that is above last and not before now. An overflowing
// counter and a clock that stepped back both borrow the next free slot, so ids strictly rise, also when
// last is another partition's (the first id of a new generation).
func NextID(last ID, now time.Time, partition int) ID {
	if next := MakeID(max(now.UnixMilli(), last.UnixMilli()), partition, 0); next > last {
		return next
	}
	if counter := int(last & (1<<idCounterBits - 1)); counter < 1<<idCounterBits-1 {
		if next := MakeID(last.UnixMilli(), partition, counter+1); next > last {
			return next
		}
	}
	return MakeID(last.UnixMilli()+1, partition, 0)
}

// UnixMilli is the time in the id.
func (id ID) UnixMilli() int64 { return int64(id>>idTimeShift) + idEpochMillis } // 42 bits

// Time is the time in the id, in UTC with milliseconds.
func (id ID) Time() time.Time { return time.UnixMilli(id.UnixMilli()).UTC() }

// String is the id in decimal, as JSON shows it.
func (id ID) String() string { return strconv.FormatUint(uint64(id), 10) }

// MarshalText is the decimal form.
func (id ID) MarshalText() ([]byte, error) { return strconv.AppendUint(nil, uint64(id), 10), nil }

// UnmarshalText reads the decimal form.
func (id *ID) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return Errorf(Invalid, "id %q is not a number", Clip(string(b)))
	}
	*id = ID(v)
	return nil
}

// ClientID is the UUIDv7 a device gives its command; the zero value means none.
type ClientID [16]byte

// ParseClientID accepts the canonical text of a version 7 UUID, in either case.
func ParseClientID(s string) (ClientID, error) {
	var id ClientID
	bad := func() (ClientID, error) {
		return ClientID{}, Errorf(InvalidClientID, "client_id %q is not a UUIDv7", Clip(s))
	}
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return bad()
	}
	at := 0
	for i := 0; i < len(s); {
		if i == 8 || i == 13 || i == 18 || i == 23 { // a dash anywhere else is no digit
			i++
			continue
		}
		high, low := unhex(s[i]), unhex(s[i+1])
		if high < 0 || low < 0 {
			return bad()
		}
		id[at] = byte(high<<4 | low) // two nibbles
		at++
		i += 2
	}
	if id[6]>>4 != 7 || id[8]>>6 != 2 {
		return bad()
	}
	return id, nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}

// NewClientID makes a UUIDv7 for time t. The rest of it is random.
func NewClientID(t time.Time) ClientID {
	var id ClientID
	_, _ = rand.Read(id[6:])
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(t.UnixMilli())) // after 1970
	copy(id[:6], ms[2:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}

// UnixMilli is the time inside the id.
func (c ClientID) UnixMilli() int64 {
	var ms [8]byte
	copy(ms[2:], c[:6])
	return int64(binary.BigEndian.Uint64(ms[:])) // 48 bits
}

// IsZero reports that there is no client id.
func (c ClientID) IsZero() bool { return c == ClientID{} }

// String is the canonical lower-case text; empty for none.
func (c ClientID) String() string {
	if c.IsZero() {
		return ""
	}
	b, _ := c.MarshalText()
	return string(b)
}

// MarshalText is the canonical lower-case text.
func (c ClientID) MarshalText() ([]byte, error) { return c.append(make([]byte, 0, 36)), nil }

func (c ClientID) append(b []byte) []byte {
	const digits = "0123456789abcdef"
	for i, v := range c {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, digits[v>>4], digits[v&15])
	}
	return b
}

// UnmarshalText reads the canonical text.
func (c *ClientID) UnmarshalText(b []byte) error {
	id, err := ParseClientID(string(b))
	if err != nil {
		return err
	}
	*c = id
	return nil
}

// Position is a place in a conversation: a seq (below MaxSeq) or an id (anything else).
type Position uint64

// ParsePosition reads the decimal form of either.
func ParsePosition(s string) (Position, error) {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, Errorf(Invalid, "position %q is not a seq or an id", Clip(s))
	}
	return Position(v), nil
}

// Seq is the position as a seq; ok is false when it is an id.
func (p Position) Seq() (seq Seq, ok bool) { return Seq(p), p < MaxSeq }

// ID is the position as an id; only meaningful when Seq says no.
func (p Position) ID() ID { return ID(p) }

// Head is the last record of a conversation.
type Head struct {
	Seq Seq    `json:"seq"`
	N   uint64 `json:"n"`
	ID  ID     `json:"id"`
}

// Cursor is a place a person has reached: n counts messages, so unread = head.n - read.n.
type Cursor struct {
	Seq Seq    `json:"seq"`
	N   uint64 `json:"n"`
}

// Max is the later of two cursors: the only way cursors are merged.
func (c Cursor) Max(o Cursor) Cursor {
	if o.Seq > c.Seq {
		return o
	}
	return c
}

// Cursors are a person's two cursors in one conversation.
type Cursors struct {
	Read      Cursor `json:"read"`
	Delivered Cursor `json:"delivered"`
}

// Max merges each cursor by itself; what is read counts as delivered.
func (c Cursors) Max(o Cursors) Cursors {
	read := c.Read.Max(o.Read)
	return Cursors{Read: read, Delivered: c.Delivered.Max(o.Delivered).Max(read)}
}
