package conversation

import (
	"slices"

	"github.com/parley-chat/parley/pkg/chat"
)

// Open reports whether the person is a member now.
func (m Member) Open() bool {
	return len(m.Intervals) > 0 && m.Intervals[len(m.Intervals)-1].Removed == 0
}

// Open counts those who are members now. Whoever assembles a State from stored rows sets MemberCount to it.
func (m Members) Open() int {
	count := 0
	for _, row := range m {
		if row.Open() {
			count++
		}
	}
	return count
}

// Exists reports whether the conversation has been created.
func (s State) Exists() bool { return s.Head.Seq > 0 }

// IsMember reports whether u is a member now.
func (s State) IsMember(u chat.UserID) bool { return s.Members[u].Open() }

// RoleOf is u's role; empty for who is no member now.
func (s State) RoleOf(u chat.UserID) chat.Role {
	if m := s.Members[u]; m.Open() {
		return m.Role
	}
	return ""
}

// Visible is what u may read: ascending, disjoint; nil for who is no member now. The slice is shared.
func (s State) Visible(u chat.UserID) []Interval {
	m := s.Members[u]
	if !m.Open() {
		return nil
	}
	if s.History == chat.HistoryJoined {
		return m.Intervals
	}
	return []Interval{{Joined: 1}}
}

// CanSee reports whether seq lies in what u may read; whether there is such a record it does not say.
func (s State) CanSee(u chat.UserID, seq chat.Seq) bool {
	m := s.Members[u]
	if seq == 0 || !m.Open() {
		return false
	}
	if s.History != chat.HistoryJoined {
		return true
	}
	return slices.ContainsFunc(m.Intervals, func(in Interval) bool { return in.Contains(seq) })
}

// Contains reports whether seq lies in the interval.
func (in Interval) Contains(seq chat.Seq) bool {
	return seq >= in.Joined && (in.Removed == 0 || seq < in.Removed)
}

// reaches reports whether seq is a record up to the head that u may read.
func (s State) reaches(u chat.UserID, seq chat.Seq) bool {
	return seq <= s.Head.Seq && s.CanSee(u, seq)
}

// JoinedSeq is where u's present membership began; 0 for who is no member now.
func (s State) JoinedSeq(u chat.UserID) chat.Seq {
	if m := s.Members[u]; m.Open() {
		return m.Intervals[len(m.Intervals)-1].Joined
	}
	return 0
}

// StartCursor is where u's cursors start: just before the present membership, so 0 for those of the
// create record. Zero for who is no member now.
func (s State) StartCursor(u chat.UserID) chat.Cursor {
	m := s.Members[u]
	if !m.Open() {
		return chat.Cursor{}
	}
	in := m.Intervals[len(m.Intervals)-1]
	return chat.Cursor{Seq: in.Joined - 1, N: in.N}
}

// Peer is the other person of a direct conversation; empty in any other and for a stranger.
func (s State) Peer(u chat.UserID) chat.UserID {
	if s.Type != chat.Direct || !s.IsMember(u) {
		return ""
	}
	for other := range s.Members {
		if other != u {
			return other
		}
	}
	return ""
}

// OpenMembers lists who is a member now, sorted.
func (s State) OpenMembers() []chat.UserID {
	users := make([]chat.UserID, 0, s.MemberCount)
	for u, m := range s.Members {
		if m.Open() {
			users = append(users, u)
		}
	}
	slices.Sort(users)
	return users
}

// Audience is who receives a record, sorted: the members after it, and for a membership record also those
// before it, so that a removed member learns of the removal.
func Audience(before, after State, r chat.Record) []chat.UserID {
	users := after.OpenMembers()
	if r.Kind != chat.KindMember {
		return users
	}
	users = append(users, before.OpenMembers()...)
	slices.Sort(users)
	return slices.Compact(users)
}

// CursorsOf is how far u has come at the answer's head: the latest of what is stored, where the present
// membership began, and u's own sends that the store may not have yet. A stored cursor that another device
// moved past this snapshot counts as its head, so that read <= head holds in every answer made from one.
func (a Answer) CursorsOf(u chat.UserID, stored chat.Cursors) chat.Cursors {
	least := a.State.StartCursor(u).Max(a.Sends[u])
	all := stored.Max(chat.Cursors{Read: least, Delivered: least})
	return chat.Cursors{Read: a.State.upToHead(all.Read), Delivered: a.State.upToHead(all.Delivered)}
}

func (s State) upToHead(c chat.Cursor) chat.Cursor {
	if c.Seq > s.Head.Seq {
		return chat.Cursor{Seq: s.Head.Seq, N: s.Head.N}
	}
	return c
}

// Unread is how many messages lie after a cursor.
func Unread(head chat.Head, read chat.Cursor) uint64 {
	if read.N >= head.N {
		return 0
	}
	return head.N - read.N
}
