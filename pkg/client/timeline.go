package client

import (
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// mostHeldRecords bounds what waits for a missing record, per conversation.
const mostHeldRecords = 1024

// incoming is a record and the way it came.
type incoming struct {
	record chat.Record
	source Source
}

// timeline decides, for one conversation, what is shown and in which order. It is pure: the client's lock
// guards it and the client's clock is passed in.
type timeline struct {
	known bool     // shown means something
	shown chat.Seq // everything up to it is shown, or on its way to OnEvent
	held  map[chat.Seq]incoming
	since time.Time // since when something is held, or a sync is due for another reason; zero: neither
	tries int       // syncs that did not tell of it although something is held

	// Of the present connection.
	connection uint64
	covered    chat.Seq // highest seq that came live or was covered by a sync on it
}

// live takes a pushed record, or the record of an own message. me tells a membership of one's own: its record
// is where a conversation begins that was not known before.
func (t *timeline) live(in incoming, me chat.UserID, now time.Time) []incoming {
	r := &in.record
	if !t.known && begins(r, me) {
		t.known, t.shown = true, r.Seq-1
	}
	if t.known && r.Seq <= t.shown {
		return nil
	}
	if t.known && r.Seq == t.shown+1 {
		t.shown = r.Seq
		return append([]incoming{in}, t.release()...)
	}
	if t.held == nil {
		t.held = map[chat.Seq]incoming{}
		t.since = now
	}
	if len(t.held) < mostHeldRecords {
		t.held[r.Seq] = in
	} else {
		t.since = time.Time{}.Add(1) // overdue: the sync brings what has no room here
	}
	return nil
}

// begins reports whether a record is the first one that me may see in any case.
func begins(r *chat.Record, me chat.UserID) bool {
	if r.Kind == chat.KindCreate {
		return true
	}
	return r.Kind == chat.KindMember && r.Action == chat.ActionAdded && slices.Contains(r.UserIDs, me)
}

// synced takes the ascending records of a sync. What it leaves out (a return to a conversation that shows
// newcomers nothing older) may not be seen.
func (t *timeline) synced(records []chat.Record) []incoming {
	var show []incoming
	for _, r := range records {
		if t.known && r.Seq <= t.shown {
			continue
		}
		t.known, t.shown = true, r.Seq
		show = append(show, incoming{r, SourceSync})
	}
	t.known = true
	return append(show, t.release()...)
}

// skip moves over a gap that is shown by other means.
func (t *timeline) skip(before chat.Seq) {
	t.known, t.shown = true, max(t.shown, before-1)
}

// takeBack ends at a record again: what was decided behind it is not shown. A sync is due after the usual wait.
func (t *timeline) takeBack(shown chat.Seq, now time.Time) {
	t.shown, t.held, t.since = shown, nil, now
}

// release takes what was held and has its turn.
func (t *timeline) release() []incoming {
	if t.held == nil {
		t.since = time.Time{}
		return nil
	}
	var show []incoming
	for {
		in, ok := t.held[t.shown+1]
		if !ok {
			break
		}
		delete(t.held, in.record.Seq)
		t.shown++
		show = append(show, in)
	}
	for seq := range t.held {
		if seq <= t.shown {
			delete(t.held, seq)
		}
	}
	if len(t.held) == 0 {
		t.held, t.since = nil, time.Time{}
	}
	return show
}

// first is the lowest seq that is held; 0: none.
func (t *timeline) first() chat.Seq {
	var first chat.Seq
	for seq := range t.held {
		if first == 0 || seq < first {
			first = seq
		}
	}
	return first
}

// repeated notes a pushed record and reports whether this connection had it already.
func (t *timeline) repeated(connection uint64, seq chat.Seq) bool {
	if t.connection != connection {
		t.connection, t.covered = connection, 0
	}
	if seq <= t.covered {
		return true
	}
	t.covered = seq
	return false
}

// cover notes that a sync on this connection answered up to seq.
func (t *timeline) cover(connection uint64, seq chat.Seq) {
	if t.connection != connection {
		t.connection, t.covered = connection, 0
	}
	t.covered = max(t.covered, seq)
}
