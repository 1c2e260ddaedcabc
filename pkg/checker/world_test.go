package checker

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
)

// world is a correct installation in small: one group, people with two devices each, everything they do and
// see written down. Mutations of what it writes must be found.
type world struct {
	draw    *rapid.T
	events  []Event
	now     int64
	conv    chat.ConversationID
	log     []Record // as in the log
	texts   map[chat.Seq]string
	deleted map[chat.Seq]bool
	edited  map[chat.Seq]chat.Seq
	people  []*human
	count   int
}

type human struct {
	id      chat.UserID
	member  bool
	devices []*gadget
	read    chat.Seq
}

type gadget struct {
	name   string
	online bool
	conn   uint64
	shown  chat.Seq
	lag    []Record // committed, not delivered yet
}

func generate(t *rapid.T) *world {
	w := &world{draw: t, now: 1, conv: "ggroup", texts: map[chat.Seq]string{}, deleted: map[chat.Seq]bool{}, edited: map[chat.Seq]chat.Seq{}}
	var users []chat.UserID
	for i := range 4 {
		h := &human{id: chat.UserID(fmt.Sprint("u", i)), member: true}
		for d := range 2 {
			h.devices = append(h.devices, &gadget{name: fmt.Sprintf("%s/%d", h.id, d), online: true, conn: 1})
		}
		w.people, users = append(w.people, h), append(users, h.id)
		w.add(Event{Op: OpRegister, Client: h.devices[0].name, Username: string(h.id), Code: OK})
	}
	w.add(Event{Op: OpRegister, Client: "unobody/0", Username: "u0", Code: "conflict"})
	w.commit(Record{Kind: chat.KindCreate, Sender: "u0", Users: users}, "", nil)
	for range 12 {
		w.say() // enough of everything that mutations need
	}
	w.edit()
	w.delete()
	w.repeat()
	w.receipt()
	w.removeAndReturn()
	for range rapid.IntRange(0, 60).Draw(t, "steps") {
		w.step()
	}
	w.finish()
	return w
}

func (w *world) step() {
	steps := []func(){w.say, w.say, w.say, w.deliverSome, w.edit, w.delete, w.repeat, w.receipt, w.page, w.drop, w.connect, w.removeAndReturn, w.refused, w.unknown}
	steps[rapid.IntRange(0, len(steps)-1).Draw(w.draw, "step")]()
}

func (w *world) add(e Event) {
	w.now += 10
	if e.T == 0 {
		e.T = w.now
	}
	w.events = append(w.events, e)
}

func (w *world) pick(n int) int { return rapid.IntRange(0, n-1).Draw(w.draw, "pick") }

func (w *world) clientID() chat.ClientID {
	w.count++
	id := chat.NewClientID(time.UnixMilli(1_800_000_000_000 + int64(w.count)))
	return id
}

// commit appends a record and queues it for every device of every member, but from's.
func (w *world) commit(r Record, text string, from *gadget) Record {
	r.Seq = chat.Seq(len(w.log) + 1)
	r.ID = chat.ID(1000 * (len(w.log) + 1))
	if len(w.log) > 0 {
		r.N = w.log[len(w.log)-1].N
	}
	if r.Kind.Counts() {
		r.N++
	}
	r.TextHash = HashText(text)
	w.log = append(w.log, r)
	w.texts[r.Seq] = text
	for _, h := range w.people {
		if !h.member && !slices.Contains(r.Users, h.id) {
			continue
		}
		for _, d := range h.devices {
			if d.online && d != from {
				d.lag = append(d.lag, r)
			}
		}
	}
	return r
}

// flush delivers everything a device has to get.
func (w *world) flush(d *gadget) {
	for _, r := range d.lag {
		w.add(Event{Op: OpReceived, Client: d.name, Conn: d.conn, Conversation: w.conv, Records: []Record{r}})
		d.shown = r.Seq
		if r.Action == chat.ActionRemoved && string(r.Users[0]) == d.name[:2] {
			w.add(Event{Op: OpGone, Client: d.name, Conversation: w.conv})
		}
	}
	d.lag = nil
}

func (w *world) deliverSome() {
	w.flush(w.people[w.pick(4)].devices[w.pick(2)])
}

// command is a send of any kind: acknowledged, shown by its own device once the earlier ones are.
func (w *world) command(h *human, d *gadget, r Record, text string) Record {
	r.Sender, r.ClientID = h.id, w.clientID()
	w.add(Event{Op: OpSend, Client: d.name, Conversation: w.conv, ClientID: r.ClientID, Kind: r.Kind, TextHash: HashText(text), Target: r.Target, ReplyTo: r.ReplyTo})
	r = w.commit(r, text, d)
	w.add(Event{Op: OpSent, Client: d.name, Conversation: w.conv, ClientID: r.ClientID, ID: r.ID, Seq: r.Seq, N: r.N})
	if d.online {
		d.lag = append(d.lag, r)
		w.flush(d)
	}
	return r
}

func (w *world) speaker() (*human, *gadget) {
	h := w.people[w.pick(3)] // the fourth comes and goes
	d := h.devices[w.pick(2)]
	w.online(d)
	return h, d
}

func (w *world) say() {
	h, d := w.speaker()
	r := Record{Kind: chat.KindMessage}
	if len(w.log) > 2 && w.pick(4) == 0 {
		r.ReplyTo = 2
	}
	r = w.command(h, d, r, fmt.Sprint("text ", len(w.log)))
	h.read = max(h.read, r.Seq)
}

// target is a message that is not deleted, and who may change it.
func (w *world) target() (chat.Seq, *human, *gadget) {
	for s := len(w.log) - 1; s > 0; s-- {
		r := w.log[s]
		if r.Kind == chat.KindMessage && !w.deleted[r.Seq] && w.pick(2) == 0 {
			for _, h := range w.people {
				if h.id == r.Sender && h.member {
					d := h.devices[w.pick(2)]
					w.online(d)
					return r.Seq, h, d
				}
			}
		}
	}
	return 0, nil, nil
}

func (w *world) edit() {
	if seq, h, d := w.target(); seq != 0 {
		r := w.command(h, d, Record{Kind: chat.KindEdit, Target: seq}, fmt.Sprint("edit ", len(w.log)))
		w.edited[seq] = r.Seq
	}
}

func (w *world) delete() {
	if seq, h, d := w.target(); seq != 0 {
		w.deleted[seq] = true
		w.command(h, d, Record{Kind: chat.KindDelete, Target: seq}, "")
	}
}

func (w *world) repeat() {
	var sent []Event
	for _, e := range w.events {
		if e.Op == OpSent {
			sent = append(sent, e)
		}
	}
	e := sent[w.pick(len(sent))]
	e.T = 0
	w.add(e)
	w.add(Event{Op: OpConflictProbe, Client: e.Client, Conversation: w.conv, ClientID: e.ClientID, Code: "conflict"})
}

func (w *world) refused() {
	h, d := w.speaker()
	_ = h
	id := w.clientID()
	w.add(Event{Op: OpSend, Client: d.name, Conversation: w.conv, ClientID: id, Kind: chat.KindMessage, TextHash: HashText("no")})
	w.add(Event{Op: OpFail, Client: d.name, Conversation: w.conv, ClientID: id, Code: "forbidden"})
}

// unknown is a send without an answer: half of them stand.
func (w *world) unknown() {
	h, d := w.speaker()
	id := w.clientID()
	w.add(Event{Op: OpSend, Client: d.name, Conversation: w.conv, ClientID: id, Kind: chat.KindMessage, TextHash: HashText("perhaps")})
	w.add(Event{Op: OpUnknown, Client: d.name, Conversation: w.conv, ClientID: id})
	if w.pick(2) == 0 {
		w.commit(Record{Kind: chat.KindMessage, Sender: h.id, ClientID: id}, "perhaps", nil)
		h.read = max(h.read, chat.Seq(len(w.log)))
	}
}

func (w *world) receipt() {
	d := w.people[w.pick(3)].devices[0]
	seq := chat.Seq(len(w.log))
	w.add(Event{Op: OpCursor, Client: d.name, Conn: d.conn, Conversation: w.conv, User: "u1", Which: "read", Seq: seq, N: w.log[seq-1].N})
	w.people[1].read = max(w.people[1].read, seq)
	w.add(Event{Op: OpCursorSet, Client: w.people[1].devices[0].name, Conversation: w.conv, Which: "read", Seq: seq, Code: OK})
}

func (w *world) drop() {
	d := w.people[w.pick(4)].devices[w.pick(2)]
	d.online, d.lag = false, nil
}

func (w *world) connect() { w.online(w.people[w.pick(4)].devices[w.pick(2)]) }

// online connects a device: a sync of at most five records, history below, deletes applied.
func (w *world) online(d *gadget) {
	if d.online {
		return
	}
	d.online = true
	d.conn++
	h := w.people[int(d.name[1]-'0')]
	t0 := w.now
	if !h.member {
		if d.shown != 0 {
			w.add(Event{Op: OpGone, Client: d.name, Conversation: w.conv})
			d.shown = 0
		}
		return
	}
	from := max(int(d.shown), len(w.log)-5)
	if from > int(d.shown) {
		for _, r := range w.fold(int(d.shown), from) {
			w.add(Event{Op: OpFilled, Client: d.name, Conversation: w.conv, Records: []Record{r}})
		}
		w.add(Event{Op: OpFilledRange, Client: d.name, Conversation: w.conv, From: d.shown + 1, To: chat.Seq(from)})
	}
	for _, r := range w.log[from:] {
		if w.deleted[r.Seq] || r.Kind == chat.KindEdit && w.deleted[r.Target] {
			r.TextHash, r.Deleted = "", true
		}
		w.add(Event{Op: OpSynced, T0: t0, Client: d.name, Conn: d.conn, Conversation: w.conv, Records: []Record{r}})
	}
	d.shown = chat.Seq(len(w.log))
}

// fold is history: edits and deletes stand in their targets.
func (w *world) fold(from, to int) []Record {
	var page []Record
	for _, r := range w.log[from:to] {
		if r.Kind.Folded() {
			continue
		}
		if by := w.edited[r.Seq]; by != 0 {
			r.EditedSeq, r.TextHash = by, HashText(w.texts[by])
		}
		if w.deleted[r.Seq] {
			r.Deleted, r.TextHash = true, ""
		}
		page = append(page, r)
	}
	return page
}

func (w *world) page() {
	h := w.people[w.pick(4)]
	if !h.member {
		return
	}
	t0 := w.now
	w.add(Event{Op: OpPage, T0: t0, Client: h.devices[0].name, Conversation: w.conv, From: 1, To: chat.Seq(len(w.log)), Records: w.fold(0, len(w.log))})
}

func (w *world) removeAndReturn() {
	h := w.people[3]
	op, action := OpMemberRemove, chat.ActionRemoved
	if !h.member {
		op, action = OpMemberAdd, chat.ActionAdded
	}
	t0 := w.now
	if !h.member {
		h.member = true
		w.commit(Record{Kind: chat.KindMember, Sender: "u0", Action: action, Users: []chat.UserID{h.id}}, "", nil)
		for _, d := range h.devices {
			if !d.online {
				d.shown = 0
			}
		}
	} else {
		w.commit(Record{Kind: chat.KindMember, Sender: "u0", Action: action, Users: []chat.UserID{h.id}}, "", nil)
		h.member = false
	}
	w.add(Event{Op: op, T0: t0, Client: "u0/0", Conversation: w.conv, Users: []chat.UserID{h.id}, Code: OK})
	for _, d := range h.devices {
		w.flush(d)
		if !d.online && d.shown != 0 {
			w.add(Event{Op: OpGone, Client: d.name, Conversation: w.conv})
			d.shown = 0
		}
	}
}

// finish is the end of a run: everybody connected, everything delivered, everything read.
func (w *world) finish() {
	w.comings()
	head := chat.Seq(len(w.log))
	for _, h := range w.people {
		for _, d := range h.devices {
			w.flush(d)
			w.online(d)
			w.add(Event{Op: OpFinalDevice, Client: d.name})
		}
		if !h.member {
			continue
		}
		d := h.devices[0].name
		for from := 0; from < len(w.log); from += 7 {
			to := min(from+7, len(w.log))
			w.add(Event{Op: OpFinalPage, Client: d, Conversation: w.conv, From: chat.Seq(from + 1), To: chat.Seq(to), Seq: head, Records: w.fold(from, to)})
		}
		last := w.log[head-1]
		var read chat.Cursor
		if h.read > 0 {
			read = chat.Cursor{Seq: h.read, N: w.log[h.read-1].N}
		}
		w.add(Event{Op: OpFinalHead, Client: d, Conversation: w.conv, Seq: head, N: last.N, ID: last.ID, Read: &read, Unread: last.N - read.N})
	}
}

// comings is who was there: everybody all the time, but u1, who was away for 30 s.
func (w *world) comings() {
	begin := w.now
	at := func(d time.Duration, e Event) {
		w.now = max(w.now, begin+int64(d))
		e.T = begin + int64(d)
		w.add(e)
	}
	for _, h := range w.people {
		for _, d := range h.devices {
			at(0, Event{Op: OpConnected, Client: d.name})
		}
	}
	at(time.Second, Event{Op: OpPresence, Client: "u0/0", User: "u1", Which: "online"})
	for _, d := range w.people[1].devices {
		at(100*time.Second, Event{Op: OpDisconnected, Client: d.name})
	}
	at(111*time.Second, Event{Op: OpPresence, Client: "u0/0", User: "u1", Which: "offline"})
	at(130*time.Second, Event{Op: OpConnected, Client: "u1/0"})
	at(131*time.Second, Event{Op: OpPresence, Client: "u0/0", User: "u1", Which: "away"})
	at(200*time.Second, Event{Op: OpDisconnected, Client: "u1/0"})
	at(201*time.Second, Event{Op: OpConnected, Client: "u1/0"})
	w.now = begin + int64(300*time.Second)
}

// judge writes the events as a history and checks it.
func judge(t interface{ Fatal(args ...any) }, events []Event) Report {
	var b bytes.Buffer
	out := NewWriter(nopCloser{&b}, time.Now)
	for _, e := range events {
		out.Write(e)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	report, err := Check(&b)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

type nopCloser struct{ *bytes.Buffer }

func (nopCloser) Close() error { return nil }
