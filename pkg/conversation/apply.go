package conversation

import (
	"maps"
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

const (
	bucketRecords   = 50_000 // records in a storage bucket before it is cut
	bucketCutBits   = 12
	bucketFirst     = 2025 // the year whose January is month 0
	monthsInOneYear = 12
)

// Stamp completes the record that Decide gave with its place: the seq after the head, n, the id, and the
// storage bucket, which it returns. The bucket never goes back, also when the clock does.
func Stamp(s State, r *chat.Record, id chat.ID) chat.Bucket {
	r.Seq, r.N, r.ID = s.Head.Seq+1, s.Head.N, id
	if r.Kind.Counts() {
		r.N++
	}
	if month := bucketMonth(id.Time()); !s.Exists() || month > s.Bucket>>bucketCutBits {
		return month << bucketCutBits
	}
	if s.BucketCount >= bucketRecords {
		return s.Bucket + 1
	}
	return s.Bucket
}

func bucketMonth(t time.Time) chat.Bucket {
	months := (t.Year()-bucketFirst)*monthsInOneYear + int(t.Month()) - 1
	return chat.Bucket(max(months, 0)) // ids end in the year 2164
}

// Apply folds a record into a state. Each row (the head, each member or preference, the settings) moves only if the
// record's seq lies above the row's own: rows of different ages become one state when the log is folded
// over them in seq order, and a repeat changes nothing. A kind it does not know moves only the head.
// The state passed in stays as it was; Members and Preferences are replaced when they change, never modified.
func Apply(s State, r chat.Record, bucket chat.Bucket) State {
	switch r.Kind {
	case chat.KindFence:
		return s // of no conversation
	case chat.KindCreate:
		s = applyCreate(s, r)
	case chat.KindMember:
		s = applyMember(s, r)
	case chat.KindSettings:
		s = applySettings(s, r)
	case chat.KindPreference:
		s = applyPreference(s, r)
	default:
	}
	if r.Seq <= s.Head.Seq {
		return s
	}
	s.Head = chat.Head{Seq: r.Seq, N: r.N, ID: r.ID}
	if s.Bucket == bucket {
		s.BucketCount++
	} else {
		s.Bucket, s.BucketCount = bucket, 1
	}
	return s
}

func applyCreate(s State, r chat.Record) State {
	s.ID, s.Type, s.CreatedID = r.ConversationID, chat.Type(r.Type), r.ID
	s = applySettings(s, r)
	users := make([]chat.UserID, 0, len(r.Members))
	roles := make(map[chat.UserID]chat.Role, len(r.Members))
	for _, m := range r.Members {
		users = append(users, m.UserID)
		roles[m.UserID] = m.Role
	}
	return s.changeMembers(r.Seq, users, func(u chat.UserID, m Member) Member {
		return m.join(roles[u], Interval{Joined: r.Seq})
	})
}

func applyMember(s State, r chat.Record) State {
	switch r.Action {
	case chat.ActionAdded:
		return s.changeMembers(r.Seq, r.UserIDs, func(_ chat.UserID, m Member) Member {
			return m.join(chat.RoleMember, Interval{Joined: r.Seq, N: r.N})
		})
	case chat.ActionRemoved, chat.ActionLeft:
		return s.changeMembers(r.Seq, r.UserIDs, func(_ chat.UserID, m Member) Member {
			return m.leave(r.Seq)
		})
	case chat.ActionRole:
		return s.changeMembers(r.Seq, r.UserIDs, func(_ chat.UserID, m Member) Member {
			m.Role = r.Role
			return m
		})
	default:
		return s
	}
}

func applySettings(s State, r chat.Record) State {
	if r.Seq <= s.SettingsSeq {
		return s
	}
	s.SettingsSeq = r.Seq
	if r.Name != nil {
		s.Name = *r.Name
	}
	if r.History != "" {
		s.History = r.History
	} else if r.Kind == chat.KindCreate {
		s.History = chat.HistoryAll
	}
	return s
}

// changeMembers changes the rows that are older than seq, in a copy of the map that then stays.
func (s State) changeMembers(seq chat.Seq, users []chat.UserID, change func(chat.UserID, Member) Member) State {
	var changed Members
	for _, u := range users {
		m := s.Members[u]
		if seq <= m.Seq {
			continue
		}
		if changed == nil {
			changed = make(Members, len(s.Members)+len(users))
			maps.Copy(changed, s.Members)
		}
		m = change(u, m)
		m.Seq = seq
		changed[u] = m
	}
	if changed != nil {
		s.Members, s.MemberCount = changed, changed.Open()
	}
	return s
}

// join opens an interval; of somebody who is in already it only sets the role.
func (m Member) join(role chat.Role, in Interval) Member {
	if !m.Open() {
		m.Intervals = append(slices.Clone(m.Intervals), in)
	}
	m.Role = role
	return m
}

// leave closes the open interval: the record at removed is the first that is not the member's.
func (m Member) leave(removed chat.Seq) Member {
	if m.Open() {
		m.Intervals = slices.Clone(m.Intervals)
		m.Intervals[len(m.Intervals)-1].Removed = removed
	}
	return m
}
