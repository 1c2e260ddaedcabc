package wire

import (
	"encoding/binary"
	"errors"

	"github.com/parley-chat/parley/pkg/chat"
)

// Announcement is what the owner of a presence shard tells an edge, as an answer or by itself. It may be lost
// and may be overtaken: of two about one person the one with the higher (Term, Version) holds.
type Announcement struct {
	Shard   uint16
	Term    uint64
	Version uint64
	People  []PersonStatus
}

// PersonStatus is one person's status.
type PersonStatus struct {
	UserID   chat.UserID
	Status   Status
	LastSeen int64 // milliseconds since 1970, with StatusOffline; 0: the owner does not know
}

// The first byte of what an edge hears tells a hop from an announcement.
const (
	hopMark          = 1
	announcementMark = 2
)

var errAnnouncement = errors.New("announcement: truncated or malformed")

// IsAnnouncement tells an announcement from a hop.
func IsAnnouncement(b []byte) bool { return len(b) > 0 && b[0] == announcementMark }

// AppendAnnouncement encodes a; lengths and numbers are big-endian.
func AppendAnnouncement(b []byte, a *Announcement) []byte {
	b = append(b, announcementMark)
	b = binary.BigEndian.AppendUint16(b, a.Shard)
	b = binary.BigEndian.AppendUint64(b, a.Term)
	b = binary.BigEndian.AppendUint64(b, a.Version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(a.People))) // bounded by the message size
	for i := range a.People {
		p := &a.People[i]
		b = append(b, byte(len(p.UserID)))
		b = append(b, p.UserID...)
		b = append(b, byte(p.Status))
		b = binary.BigEndian.AppendUint64(b, uint64(p.LastSeen))
	}
	return b
}

// DecodeAnnouncement reads what AppendAnnouncement wrote.
func DecodeAnnouncement(b []byte) (Announcement, error) {
	const head, least = 1 + 2 + 8 + 8 + 4, 1 + 1 + 8
	if len(b) < head || b[0] != announcementMark {
		return Announcement{}, errAnnouncement
	}
	a := Announcement{
		Shard: binary.BigEndian.Uint16(b[1:]), Term: binary.BigEndian.Uint64(b[3:]), Version: binary.BigEndian.Uint64(b[11:]),
	}
	count := binary.BigEndian.Uint32(b[19:])
	r := hopReader{b: b[head:]}
	if int64(count)*least > int64(len(r.b)) {
		return Announcement{}, errAnnouncement
	}
	a.People = make([]PersonStatus, 0, count)
	for range count {
		p := PersonStatus{UserID: chat.UserID(r.short())}
		if status := r.take(1); status != nil {
			p.Status = Status(status[0])
		}
		p.LastSeen = int64(r.u64())
		if r.bad || p.Status > StatusOnline {
			return Announcement{}, errAnnouncement
		}
		a.People = append(a.People, p)
	}
	if len(r.b) != 0 {
		return Announcement{}, errAnnouncement
	}
	return a, nil
}
