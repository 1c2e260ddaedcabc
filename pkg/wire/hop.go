package wire

import (
	"encoding/binary"
	"errors"

	"github.com/parley-chat/parley/pkg/chat"
)

// Lane separates the numberings of a hop: each is contiguous by itself.
type Lane uint8

// The lanes.
const (
	LaneLog     Lane = 0 // numbered by the log's stream sequence
	LaneCursors Lane = 1 // numbered from the cursor bucket: change s is 2s-1 (delivered) and 2s (read); generation 0

	// LaneSignals has no numbers: generation, Prev, Seq and RecordSeq are 0, nothing is missed or replayed.
	LaneSignals Lane = 2
)

// Hop is one message from a partition's fan-out worker to one edge. Within (Partition, Lane) an edge has
// everything if Term is unchanged and Prev is the Last of the hop before; otherwise it asks for a replay.
type Hop struct {
	Partition  uint16
	Lane       Lane
	Replay     bool // an answer to a replay request: Prev is where the edge asked from
	Generation uint32
	Term       uint64
	Prev       uint64 // sequence of the last delivery to this edge before this hop
	Deliveries []Delivery
}

// Last is the sequence after this hop.
func (h *Hop) Last() uint64 {
	if len(h.Deliveries) == 0 {
		return h.Prev
	}
	return h.Deliveries[len(h.Deliveries)-1].Seq
}

// Delivery is one frame, encoded once, for everybody it concerns at one edge.
type Delivery struct {
	Seq          uint64
	Recipients   []chat.UserID
	Conversation chat.ConversationID
	RecordSeq    chat.Seq
	Frame        []byte
}

var errHop = errors.New("hop: truncated or malformed")

// AppendHop encodes h: a fixed head, then the deliveries; lengths are big-endian.
func AppendHop(b []byte, h *Hop) []byte {
	flags := byte(h.Lane) << 1
	if h.Replay {
		flags |= 1
	}
	b = append(b, hopMark, flags)
	b = binary.BigEndian.AppendUint16(b, h.Partition)
	b = binary.BigEndian.AppendUint32(b, h.Generation)
	b = binary.BigEndian.AppendUint64(b, h.Term)
	b = binary.BigEndian.AppendUint64(b, h.Prev)
	b = binary.BigEndian.AppendUint32(b, uint32(len(h.Deliveries))) // bounded by the message size
	for i := range h.Deliveries {
		d := &h.Deliveries[i]
		b = binary.BigEndian.AppendUint64(b, d.Seq)
		b = binary.BigEndian.AppendUint64(b, uint64(d.RecordSeq))
		b = append(b, byte(len(d.Conversation)))
		b = append(b, d.Conversation...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(d.Recipients))) // bounded by the audience
		for _, u := range d.Recipients {
			b = append(b, byte(len(u)))
			b = append(b, u...)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(d.Frame))) // bounded by MaxRecord
		b = append(b, d.Frame...)
	}
	return b
}

// DecodeHop reads what AppendHop wrote. Frames alias b.
func DecodeHop(b []byte) (Hop, error) {
	const head = 2 + 2 + 4 + 8 + 8 + 4
	if len(b) < head || b[0] != hopMark {
		return Hop{}, errHop
	}
	h := Hop{
		Lane: Lane(b[1] >> 1), Replay: b[1]&1 == 1,
		Partition: binary.BigEndian.Uint16(b[2:]), Generation: binary.BigEndian.Uint32(b[4:]),
		Term: binary.BigEndian.Uint64(b[8:]), Prev: binary.BigEndian.Uint64(b[16:]),
	}
	n := binary.BigEndian.Uint32(b[24:])
	r := hopReader{b: b[head:]}
	for range n {
		d := Delivery{Seq: r.u64(), RecordSeq: chat.Seq(r.u64()), Conversation: chat.ConversationID(r.short())}
		count := r.u32()
		if r.bad || int(count) > len(r.b) {
			return Hop{}, errHop
		}
		d.Recipients = make([]chat.UserID, 0, count)
		for range count {
			d.Recipients = append(d.Recipients, chat.UserID(r.short()))
		}
		d.Frame = r.take(int(r.u32()))
		if r.bad {
			return Hop{}, errHop
		}
		h.Deliveries = append(h.Deliveries, d)
	}
	if len(r.b) != 0 {
		return Hop{}, errHop
	}
	return h, nil
}

type hopReader struct {
	b   []byte
	bad bool
}

func (r *hopReader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad = true
		r.b = nil
		return nil
	}
	part := r.b[:n:n]
	r.b = r.b[n:]
	return part
}

func (r *hopReader) u32() uint32 {
	if p := r.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (r *hopReader) u64() uint64 {
	if p := r.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func (r *hopReader) short() string {
	if n := r.take(1); n != nil {
		return string(r.take(int(n[0])))
	}
	return ""
}
