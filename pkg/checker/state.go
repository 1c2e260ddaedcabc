package checker

import (
	"sort"
	"strings"

	"github.com/parley-chat/parley/pkg/chat"
)

// mostSeq bounds the seqs believed: tables are indexed by seq.
const mostSeq = 1 << 26

// history is what has been read so far. Everything is indexed so that an event costs the same whenever it comes.
type history struct {
	report        *Report
	line          int
	conversations map[chat.ConversationID]*conversation
	list          []*conversation // in order of appearance: reports must not depend on a map's order
	clients       map[string]*client
	names         map[string]string // username -> client that has it
	firstClient   []*client
	devices       map[chat.UserID][]*client
	presences     presences
}

// client is one device of one user.
type client struct {
	name  string
	user  chat.UserID
	final bool // at rest: shows everything that it ever will
}

// conversation is everything known of one conversation.
type conversation struct {
	id      chat.ConversationID
	entries []*entry // by seq; index 0 is unused, nil: nobody saw it
	sends   map[sendKey]*send
	ordered []*send            // first attempts, as they stand in the history
	deleted map[chat.Seq]int64 // target -> when its delete was acknowledged

	finalText bits // messages that somebody reads with a text at rest

	views   []*view
	view    map[*client]*view
	readers []*reader
	reader  map[*client]*reader
	persons map[chat.UserID]*person
	order   []*person

	cursors map[cursorKey]chat.Seq
	head    *Event // the first final head
	later   []*Event
}

// entry is one record as the first who saw it saw it.
type entry struct {
	Record
	text bool // TextHash is the original text's: not folded, not deleted
	line int
}

type sendKey struct {
	user chat.UserID
	id   chat.ClientID
}

// send is one message and what became of it.
type send struct {
	key     sendKey
	client  *client
	line    int
	kind    chat.RecordKind
	hash    string
	target  chat.Seq
	replyTo chat.Seq

	acked   bool
	refused string
	unknown bool
	seq     chat.Seq
	id      chat.ID
	n       uint64
	stored  chat.Seq // where the records have it
}

// view is what one device showed of one conversation.
type view struct {
	client  *client
	last    chat.Seq
	started bool
	shown   bits
	covered bits // read from history in place of each record: edits and deletes folded
	jumps   []jump
}

// jump is a step of a view from one seq to one that is not the next.
type jump struct {
	from, to chat.Seq
	line     int
	filled   bool // to came from history, where edits and deletes are folded
}

// reader is what one client read of one conversation at rest.
type reader struct {
	client  *client
	items   bits
	covered bits
	to      chat.Seq
	line    int
}

// person is one user's standing in one conversation, and what their devices got of it.
type person struct {
	user      chat.UserID
	intervals []interval
	live      bits // pushed
	read      bits // by any other path
	removals  []moment
	returns   []moment // additions that were tried
	pages     []moment // reads begun after a removal was acknowledged
	cursor    chat.Seq // highest own read cursor that was acknowledged
	own       chat.Seq // highest own message
}

type interval struct{ joined, removed chat.Seq } // removed 0: open

func (p *person) member() bool {
	return len(p.intervals) > 0 && p.intervals[len(p.intervals)-1].removed == 0
}

func (p *person) contains(s chat.Seq) bool {
	i := sort.Search(len(p.intervals), func(i int) bool { return p.intervals[i].joined > s })
	return i > 0 && (p.intervals[i-1].removed == 0 || s < p.intervals[i-1].removed)
}

// moment is something with a beginning and an end in time.
type moment struct {
	t0, t int64
	line  int
}

type cursorKey struct {
	client *client
	conn   uint64
	user   chat.UserID
	which  string
}

func newHistory() *history {
	return &history{
		report:        &Report{Checks: map[Promise]uint64{}, Counts: map[Promise]uint64{}},
		conversations: map[chat.ConversationID]*conversation{}, clients: map[string]*client{}, names: map[string]string{},
		devices: map[chat.UserID][]*client{},
	}
}

func (h *history) violate(p Promise, format string, args ...any) {
	h.report.violate(p, h.line, format, args...)
}

func (h *history) client(name string) *client {
	c := h.clients[name]
	if c == nil {
		user, _, _ := strings.Cut(name, "/")
		c = &client{name: name, user: chat.UserID(user)}
		h.clients[name] = c
		h.firstClient = append(h.firstClient, c)
		h.devices[c.user] = append(h.devices[c.user], c)
	}
	return c
}

func (h *history) conversation(id chat.ConversationID) *conversation {
	c := h.conversations[id]
	if c == nil {
		c = &conversation{
			id: id, sends: map[sendKey]*send{}, deleted: map[chat.Seq]int64{}, view: map[*client]*view{},
			reader: map[*client]*reader{}, persons: map[chat.UserID]*person{}, cursors: map[cursorKey]chat.Seq{},
		}
		h.conversations[id] = c
		h.list = append(h.list, c)
	}
	return c
}

func (c *conversation) viewOf(who *client) *view {
	v := c.view[who]
	if v == nil {
		v = &view{client: who}
		c.view[who] = v
		c.views = append(c.views, v)
	}
	return v
}

func (c *conversation) readerOf(who *client) *reader {
	r := c.reader[who]
	if r == nil {
		r = &reader{client: who}
		c.reader[who] = r
		c.readers = append(c.readers, r)
	}
	return r
}

func (c *conversation) person(u chat.UserID) *person {
	p := c.persons[u]
	if p == nil {
		p = &person{user: u}
		c.persons[u] = p
		c.order = append(c.order, p)
	}
	return p
}

func (c *conversation) at(s chat.Seq) *entry {
	if s < chat.Seq(len(c.entries)) {
		return c.entries[s]
	}
	return nil
}

func (c *conversation) put(s chat.Seq, e *entry) {
	for chat.Seq(len(c.entries)) <= s {
		c.entries = append(c.entries, nil)
	}
	c.entries[s] = e
}
