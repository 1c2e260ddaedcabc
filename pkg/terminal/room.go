package terminal

import (
	"cmp"
	"slices"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client"
	"github.com/parley-chat/parley/pkg/wire"
)

// Bounds of what one conversation keeps. Beyond mostItems the oldest go, and come from history again; who reads
// far above keeps up to mostRead until they return.
const (
	mostItems = 2000
	mostRead  = 10 * mostItems
)

// item is one message, or one line about the conversation.
type item struct {
	record chat.Record // Seq 0: not answered yet
	failed error       // refused for good

	wrapped []string // the text in lines, of the width and name below
	width   int
	name    string
}

func (i *item) pending() bool { return i.record.Seq == 0 }

// room is one conversation as far as it is known.
type room struct {
	id       chat.ConversationID
	about    wire.Conversation
	known    bool // about was told by the server
	asked    bool // about has been asked for
	activity time.Time
	head     chat.Cursor
	read     chat.Cursor

	items   []*item // by seq, unanswered ones behind
	low     chat.Seq
	more    bool // there may be something below low
	loading bool
	last    string // cleaned text of the last message
	lastBy  chat.UserID

	receipts map[chat.UserID]progress
	typing   map[chat.UserID]bool
	scroll   int // lines between the bottom of the screen and the newest line
	draft    editor
}

// progress is how far another person is.
type progress struct{ delivered, read chat.Seq }

func newRoom(id chat.ConversationID) *room {
	return &room{id: id, more: true, receipts: map[chat.UserID]progress{}, typing: map[chat.UserID]bool{}}
}

func (r *room) unread() uint64 {
	if r.head.N <= r.read.N {
		return 0
	}
	return r.head.N - r.read.N
}

func (r *room) direct() bool { return r.id.Type() == chat.Direct }

// describe takes what the server says of the conversation.
func (r *room) describe(c wire.Conversation) {
	r.about, r.known, r.asked = c, true, false
	r.rise(chat.Cursor{Seq: c.Head.Seq, N: c.Head.N})
	r.readTo(c.Read)
	if at, err := time.Parse(time.RFC3339, c.CreatedAt); err == nil && at.After(r.activity) {
		r.activity = at
	}
	if len(c.LastMessage) == 0 || r.last != "" {
		return
	}
	if last, err := wire.DecodeRecord(c.LastMessage); err == nil {
		r.latest(last)
	}
}

func (r *room) rise(head chat.Cursor) {
	if head.Seq > r.head.Seq {
		r.head = head
	}
}

func (r *room) readTo(c chat.Cursor) {
	if c.Seq > r.read.Seq {
		r.read = c
	}
}

func (r *room) latest(record chat.Record) {
	if at := record.ID.Time(); at.After(r.activity) {
		r.activity = at
	}
	if record.Kind == chat.KindMessage {
		r.last, r.lastBy = cleanLine(chat.Clip(record.Text)), record.SenderID
		if record.Deleted {
			r.last = "(deleted)"
		}
	}
}

// take adds a record that is new at the head.
func (r *room) take(record chat.Record, me chat.UserID) {
	newest := record.Seq >= r.head.Seq
	r.rise(chat.Cursor{Seq: record.Seq, N: record.N})
	if r.low == 0 {
		r.low, r.more = record.Seq, record.Seq > 1
	}
	switch record.Kind {
	case chat.KindEdit:
		r.change(record.TargetSeq, func(m *chat.Record) { m.Text, m.EditedSeq = record.Text, record.Seq })
	case chat.KindDelete:
		r.change(record.TargetSeq, func(m *chat.Record) { m.Text, m.Deleted = "", true })
	case chat.KindSettings:
		if record.Name != nil {
			r.about.Name = *record.Name
		}
		r.put(record)
	case chat.KindMessage, chat.KindCreate, chat.KindMember:
		r.put(record)
	default: // preferences, and kinds of later versions
		return
	}
	if newest {
		r.latest(record)
	}
	if record.SenderID == me && record.Kind == chat.KindMessage {
		r.readTo(chat.Cursor{Seq: record.Seq, N: record.N})
	}
	r.trim()
}

func (r *room) change(target chat.Seq, do func(*chat.Record)) {
	at, found := r.find(target)
	if !found {
		return // below what is held: its page tells it
	}
	i := r.items[at]
	do(&i.record)
	i.wrapped = nil
	if target == r.newestMessage() {
		r.latest(i.record)
	}
}

func (r *room) newestMessage() chat.Seq {
	for _, i := range slices.Backward(r.items) {
		if i.record.Kind == chat.KindMessage && !i.pending() {
			return i.record.Seq
		}
	}
	return 0
}

// find is the place of seq among the answered items.
func (r *room) find(seq chat.Seq) (int, bool) {
	return slices.BinarySearchFunc(r.items, seq, func(i *item, seq chat.Seq) int {
		if i.pending() {
			return 1
		}
		return cmp.Compare(i.record.Seq, seq)
	})
}

// put shows a record once; one's own that waits for its answer becomes it.
func (r *room) put(record chat.Record) {
	if record.Kind == chat.KindCreate && r.id.Type() != chat.Group {
		return // there is nothing to say about it
	}
	if !record.ClientID.IsZero() {
		r.items = slices.DeleteFunc(r.items, func(i *item) bool {
			return i.pending() && i.record.ClientID == record.ClientID
		})
	}
	at, found := r.find(record.Seq)
	if found {
		r.items[at] = &item{record: record}
		return
	}
	r.items = slices.Insert(r.items, at, &item{record: record})
}

// wait shows a message of one's own that is on its way.
func (r *room) wait(m client.Message, me chat.UserID) {
	r.items = append(r.items, &item{record: chat.Record{
		ConversationID: r.id, Kind: chat.KindMessage, SenderID: me, ClientID: m.ClientID, Text: m.Text, ReplyTo: m.ReplyTo,
	}})
}

// fail keeps a refused message with its reason.
func (r *room) fail(id chat.ClientID, err error) {
	for _, i := range r.items {
		if i.pending() && i.record.ClientID == id {
			i.failed = err
		}
	}
}

// refused takes the refused messages out, to be sent again.
func (r *room) refused() []chat.Record {
	var records []chat.Record
	r.items = slices.DeleteFunc(r.items, func(i *item) bool {
		if i.failed != nil {
			records = append(records, i.record)
		}
		return i.failed != nil
	})
	return records
}

// older takes a page of history below low.
func (r *room) older(from chat.Seq, records []chat.Record, more bool) {
	for _, record := range records {
		if _, found := r.find(record.Seq); !found {
			r.put(record)
		}
	}
	if from > 0 && (r.low == 0 || from < r.low) {
		r.low = from
	}
	r.more = more
}

// gap drops what stands below a hole: history shows both again.
func (r *room) gap(before chat.Seq) {
	r.items = slices.DeleteFunc(r.items, func(i *item) bool { return !i.pending() && i.record.Seq < before })
	r.low, r.more, r.scroll = before, true, 0
}

func (r *room) trim() {
	if len(r.items) <= mostItems || r.scroll > 0 && len(r.items) <= mostRead {
		return
	}
	r.items = slices.Delete(r.items, 0, len(r.items)-mostItems)
	r.low, r.more = r.items[0].record.Seq, true
}

// follow takes a receipt of somebody else.
func (r *room) follow(user chat.UserID, kind client.ReceiptKind, seq chat.Seq) {
	p := r.receipts[user]
	switch kind {
	case client.ReceiptRead:
		p.read, p.delivered = max(p.read, seq), max(p.delivered, seq)
	case client.ReceiptDelivered:
		p.delivered = max(p.delivered, seq)
	}
	r.receipts[user] = p
}

// reached counts who has a message and who has read it.
func (r *room) reached(seq chat.Seq) (delivered, read int) {
	for _, p := range r.receipts {
		if p.delivered >= seq {
			delivered++
		}
		if p.read >= seq {
			read++
		}
	}
	return delivered, read
}
