package edge

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/pkg/wire"
)

// Opcodes of RFC 6455, without the final bit.
const (
	frameContinues = 0x0
	frameText      = 0x1
	frameBinary    = 0x2
	frameClose     = 0x8
	framePing      = 0x9
	framePong      = 0xa

	finalBit      = 0x80
	reservedBits  = 0x70
	opcodeBits    = 0x0f
	controlBit    = 0x08
	maskBit       = 0x80
	lengthBits    = 0x7f
	length16      = 126
	length64      = 127
	mostOfControl = 125 // bytes of a control frame's payload
	maskBytes     = 4
)

// protocolError says what of RFC 6455 a client broke; its text is the close frame's reason.
type protocolError string

// Error is the reason.
func (e protocolError) Error() string { return string(e) }

// scanner finds the boundaries of a client's frames in a stream of bytes, however they are cut, and refuses
// what RFC 6455 or the frame limit forbids as soon as a head shows it. It keeps no payload. The zero value is
// ready; an error is final. Not safe for concurrent use.
type scanner struct {
	head     [14]byte // of the frame that has begun
	have     uint8    // bytes of it that have come
	op       byte
	final    bool
	inside   bool  // the head is whole, payload is to come
	open     bool  // a message has begun whose last frame has not
	at       uint8 // place in the mask
	key      [maskBytes]byte
	left     uint32 // payload bytes of the frame still to come
	message  uint32 // payload bytes that the message's frames have announced
	finished bool   // something ended and nothing was left open; whoever asks takes it back
}

// piece is as much of one frame as one call to next found.
type piece struct {
	op      byte // of the frame
	begins  bool // the head was completed with this piece
	ends    bool // the frame is complete
	final   bool // the frame is its message's last
	payload []byte
	key     [maskBytes]byte
	at      uint8 // place in key of payload's first byte
}

// unmask makes the payload readable, in place.
func (p *piece) unmask() {
	b, at := p.payload, int(p.at)
	for ; at%maskBytes != 0 && len(b) > 0; at++ {
		b[0] ^= p.key[at%maskBytes]
		b = b[1:]
	}
	key := uint64(binary.LittleEndian.Uint32(p.key[:]))
	key |= key << 32
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^key)
	}
	for i := range b {
		b[i] ^= p.key[i%maskBytes]
	}
}

// partway reports whether something has begun that has not ended: a frame or a message in fragments.
func (s *scanner) partway() bool { return s.have > 0 || s.inside || s.open }

// next takes bytes from the beginning of b: a head as far as it has come, and after a whole head what b has
// of its payload. found is false when only a part of a head has come.
func (s *scanner) next(b []byte) (p piece, n int, found bool, err error) {
	begins := !s.inside
	if begins {
		if n, err = s.takeHead(b); err != nil || !s.inside {
			return piece{}, n, false, err
		}
		b = b[n:]
	}
	take := min(int(s.left), len(b))
	p = piece{op: s.op, begins: begins, final: s.final, payload: b[:take:take], key: s.key, at: s.at}
	s.left -= uint32(take)
	s.at = uint8((int(s.at) + take) % maskBytes)
	if s.left == 0 {
		p.ends = true
		s.inside, s.have = false, 0
		s.finished = s.finished || !s.open
	}
	return p, n + take, true, nil
}

// takeHead collects a head; inside is set once it is whole.
func (s *scanner) takeHead(b []byte) (n int, err error) {
	for n < len(b) {
		s.head[s.have] = b[n]
		s.have++
		n++
		if s.have == 2 {
			if err := s.judge(); err != nil {
				return n, err
			}
		}
		if s.have >= 2 && s.have == s.headSize()-maskBytes {
			if err := s.judgeLength(); err != nil {
				return n, err
			}
		}
		if s.have >= 2 && s.have == s.headSize() {
			s.enter()
			return n, nil
		}
	}
	return n, nil
}

// judge looks at the first two bytes of a head.
func (s *scanner) judge() error {
	first, second := s.head[0], s.head[1]
	op, final := first&opcodeBits, first&finalBit != 0
	switch {
	case first&reservedBits != 0:
		return protocolError("reserved bits are set")
	case second&maskBit == 0:
		return protocolError("frame is not masked")
	case op >= frameClose && op <= framePong && !final:
		return protocolError("control frame in fragments")
	case op >= frameClose && op <= framePong && second&lengthBits > mostOfControl:
		return protocolError("control frame above 125 bytes")
	case op == frameClose && second&lengthBits == 1:
		return protocolError("half a close code")
	case op >= frameClose && op <= framePong:
	case op == frameContinues && !s.open:
		return protocolError("continuation of nothing")
	case (op == frameText || op == frameBinary) && s.open:
		return protocolError("message within a message")
	case op > frameBinary:
		return protocolError("unknown opcode")
	}
	s.op, s.final = op, final
	return nil
}

func (s *scanner) headSize() uint8 {
	switch s.head[1] & lengthBits {
	case length16:
		return 2 + 2 + maskBytes
	case length64:
		return 2 + 8 + maskBytes
	default:
		return 2 + maskBytes
	}
}

// length is the payload's, as the head announces it.
func (s *scanner) length() uint64 {
	switch short := s.head[1] & lengthBits; short {
	case length16:
		return uint64(binary.BigEndian.Uint16(s.head[2:]))
	case length64:
		return binary.BigEndian.Uint64(s.head[2:])
	default:
		return uint64(short)
	}
}

// judgeLength looks at the head once the length is there.
func (s *scanner) judgeLength() error {
	if s.op&controlBit != 0 {
		return nil
	}
	before := uint64(0)
	if s.op == frameContinues {
		before = uint64(s.message)
	}
	if length := s.length(); length > wire.MaxFrame || before+length > wire.MaxFrame {
		return errTooLarge
	}
	return nil
}

// enter begins a frame's payload.
func (s *scanner) enter() {
	length := uint32(s.length())
	if s.op&controlBit == 0 {
		if s.op != frameContinues {
			s.message = 0
		}
		s.message += length
		s.open = !s.final
	}
	copy(s.key[:], s.head[s.have-maskBytes:s.have])
	s.left, s.at, s.inside = length, 0, true
}

const (
	frameTime = 5 * time.Second // for a frame, or a message in fragments, once begun, and
	frameRate = 16 << 10        // bytes a second: each that came gives its time on top
)

// arrival is by when what has begun must have come: at least frameRate after frameTime. The reader notes, the
// sweep asks.
type arrival struct {
	due atomic.Int64 // Unix nanoseconds; 0: nothing has begun
}

// note is called after n bytes were scanned.
func (a *arrival) note(s *scanner, n int) {
	due := a.due.Load()
	if !s.partway() {
		s.finished = false
		if due != 0 {
			a.due.Store(0)
		}
		return
	}
	if due == 0 || s.finished {
		due = time.Now().Add(frameTime).UnixNano()
		s.finished = false
	}
	a.due.Store(due + int64(n)*int64(time.Second/frameRate))
}

// excuse stops the clock while it is us who does not read.
func (a *arrival) excuse() { a.due.Store(0) }

func (a *arrival) late(now time.Time) bool {
	due := a.due.Load()
	return due != 0 && now.UnixNano() > due
}
