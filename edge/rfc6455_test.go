package edge

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// wiretap is a client that writes whatever bytes it likes.
type wiretap struct {
	t  testing.TB
	c  net.Conn
	in *bufio.Reader
}

// tap upgrades by hand. With u it is authenticated too.
func (w *world) tap(tb testing.TB, u chat.UserID) *wiretap {
	tb.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.http.URL, "http://"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	d := &wiretap{t: tb, c: c, in: bufio.NewReader(c)}
	d.write([]byte("GET /api/v1/ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: " + wire.Subprotocol + "\r\n\r\n"))
	resp, err := http.ReadResponse(d.in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		tb.Fatalf("upgrade: %v %v", resp, err)
	}
	_ = resp.Body.Close()
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		tb.Fatalf("accept key %q", got)
	}
	if u != "" {
		d.write(masked(opText, []byte(`{"id":1,"type":"auth","data":{"token":"`+w.token(u)+`"}}`)))
		if op, b := d.frame(); op != frameText || !bytes.Contains(b, []byte(wire.TypeAuthOK)) {
			tb.Fatalf("auth: %x %s", op, b)
		}
	}
	return d
}

// write may meet a server that has closed already.
func (d *wiretap) write(b []byte) { _, _ = d.c.Write(b) }

// frame reads one frame of the server.
func (d *wiretap) frame() (op byte, payload []byte) {
	d.t.Helper()
	_ = d.c.SetReadDeadline(time.Now().Add(patience))
	var head [2]byte
	if _, err := io.ReadFull(d.in, head[:]); err != nil {
		d.t.Fatalf("read: %v", err)
	}
	if head[0]&(finalBit|reservedBits) != finalBit || head[1]&maskBit != 0 {
		d.t.Fatalf("the server's frame begins with %x", head)
	}
	size := uint64(head[1])
	for bits, bytes := range map[uint64]int{length16: 2, length64: 8} {
		if uint64(head[1]) == bits {
			wide := make([]byte, 8)
			if _, err := io.ReadFull(d.in, wide[8-bytes:]); err != nil {
				d.t.Fatal(err)
			}
			size = binary.BigEndian.Uint64(wide)
		}
	}
	payload = make([]byte, size)
	if _, err := io.ReadFull(d.in, payload); err != nil {
		d.t.Fatal(err)
	}
	return head[0] & opcodeBits, payload
}

// ends reads until the server closes, which must be with a code, and with the end of the stream soon after.
func (d *wiretap) ends(code int) {
	d.t.Helper()
	for {
		op, b := d.frame()
		if op != frameClose {
			continue
		}
		if len(b) < 2 || int(binary.BigEndian.Uint16(b)) != code {
			d.t.Errorf("closed with %d %q, want %d", binary.BigEndian.Uint16(b), b[2:], code)
		}
		break
	}
	d.write(masked(opClose, nil))
	if tcp, ok := d.c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_ = d.c.SetReadDeadline(time.Now().Add(patience))
	if n, err := io.Copy(io.Discard, d.in); n != 0 {
		d.t.Errorf("%d bytes after the close frame, %v", n, err)
	}
}

// answers proves that the connection is in order.
func (d *wiretap) answers() {
	d.t.Helper()
	d.write(masked(opText, []byte(`{"id":77,"type":"ping"}`)))
	d.pong(77)
}

func (d *wiretap) pong(id int) {
	d.t.Helper()
	op, b := d.frame()
	if op != frameText || string(b) != fmt.Sprintf(`{"id":%d,"type":"pong","data":{}}`, id) {
		d.t.Fatalf("got %x %s, want the pong to %d", op, b, id)
	}
}

// masked is a client's frame; first is its first byte.
func masked(first byte, payload []byte) []byte {
	b := onWire(first, payload)
	b[1] |= maskBit
	head := len(b) - len(payload)
	key := []byte{0x37, 0xfa, 0x21, 0x3d}
	out := append(bytes.Clone(b[:head]), key...)
	for i, c := range payload {
		out = append(out, c^key[i%maskBytes])
	}
	return out
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

const pingFrame = `{"id":9,"type":"ping","data":"äöü"}`

// rfcCase is bytes of an authenticated client and what has to come of them.
type rfcCase struct {
	name    string
	bytes   []byte
	answers int // text frames in answer; then the connection is in order, unless it closes
	close   int
	slow    bool // a byte at a time
}

func rfcCases() []rfcCase {
	text := []byte(pingFrame)
	whole := masked(opText, text)
	broken := bytes.IndexByte(text, 0xc3) + 1 // inside of ä
	unmasked := onWire(opText, text)
	long := []byte(`{"id":9,"type":"ping","data":"` + strings.Repeat("x", 70_000) + `"}`)
	medium := []byte(`{"id":9,"type":"ping","data":"` + strings.Repeat("x", 300) + `"}`)
	closeWith := func(code int, reason string) []byte {
		return masked(opClose, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
	}
	return []rfcCase{
		{name: "a frame", bytes: whole, answers: 1},
		{name: "a byte at a time", bytes: join(whole, masked(opPing, []byte("hi")), whole), answers: 2, slow: true},
		{name: "many frames at once", bytes: bytes.Repeat(whole, 100), answers: 100},
		{name: "16-bit length", bytes: masked(opText, medium), answers: 1},
		{name: "64-bit length", bytes: masked(opText, long), answers: 1},
		{name: "the largest frame", bytes: masked(opText, append([]byte(pingFrame), bytes.Repeat([]byte(" "), wire.MaxFrame-len(pingFrame))...)), answers: 1},
		{name: "fragments", bytes: join(masked(0x01, text[:5]), masked(0x00, nil), masked(0x80, text[5:])), answers: 1},
		{name: "fragments a byte at a time", bytes: join(masked(0x01, text[:5]), masked(0x80, text[5:])), answers: 1, slow: true},
		{name: "a ping between fragments", bytes: join(masked(0x01, text[:5]), masked(opPing, []byte("x")), masked(0x80, text[5:])), answers: 1},
		{name: "UTF-8 split between fragments", bytes: join(masked(0x01, text[:broken]), masked(0x80, text[broken:])), answers: 1},
		{name: "a large message in fragments", bytes: join(masked(0x01, long[:60_000]), masked(0x80, long[60_000:])), answers: 1},
		{name: "a pong nobody asked for", bytes: join(masked(opPong, []byte("hm")), whole), answers: 1},
		{name: "an empty text", bytes: masked(opText, nil), answers: 1},

		{name: "reserved bit 1", bytes: masked(0x81|0x40, text), close: websocket.CloseProtocolError},
		{name: "reserved bit 2", bytes: masked(0x81|0x20, text), close: websocket.CloseProtocolError},
		{name: "reserved bit 3", bytes: masked(0x81|0x10, text), close: websocket.CloseProtocolError},
		{name: "reserved bit on a ping", bytes: masked(opPing|0x40, nil), close: websocket.CloseProtocolError},
		{name: "not masked", bytes: unmasked, close: websocket.CloseProtocolError},
		{name: "not masked, after a good one", bytes: join(whole, unmasked), answers: 1, close: websocket.CloseProtocolError},
		{name: "reserved opcode 3", bytes: masked(0x83, text), close: websocket.CloseProtocolError},
		{name: "reserved control opcode 11", bytes: masked(0x8b, nil), close: websocket.CloseProtocolError},
		{name: "a ping in fragments", bytes: masked(0x09, []byte("x")), close: websocket.CloseProtocolError},
		{name: "a ping of 126 bytes", bytes: masked(opPing, bytes.Repeat([]byte("x"), 126)), close: websocket.CloseProtocolError},
		{name: "continuation of nothing", bytes: masked(0x80, text), close: websocket.CloseProtocolError},
		{name: "a text within a message", bytes: join(masked(0x01, text[:5]), masked(0x81, text)), close: websocket.CloseProtocolError},
		{name: "UTF-8 that is none", bytes: masked(opText, []byte("{\"id\":9,\"type\":\"ping\",\"data\":\"\xc3\x28\"}")), close: websocket.CloseInvalidFramePayloadData},
		{name: "a surrogate", bytes: masked(opText, []byte("{\"id\":9,\"type\":\"ping\",\"data\":\"\xed\xa0\x80\"}")), close: websocket.CloseInvalidFramePayloadData},
		{name: "binary", bytes: masked(0x82, text), close: wire.CloseProtocol},

		{name: "above the limit", bytes: masked(opText, bytes.Repeat([]byte("x"), wire.MaxFrame+1)), close: wire.CloseTooLarge},
		{name: "announces more than the limit", bytes: masked(opText, make([]byte, wire.MaxFrame+1))[:14], close: wire.CloseTooLarge},
		{name: "announces 2^63 bytes", bytes: join([]byte{0x81, 0xff, 0x80}, make([]byte, 11)), close: wire.CloseTooLarge},
		{name: "fragments above the limit", bytes: join(masked(0x01, make([]byte, wire.MaxFrame)), masked(0x80, []byte("x"))), close: wire.CloseTooLarge},

		{name: "close without a code", bytes: masked(opClose, nil), close: websocket.CloseNormalClosure},
		{name: "close 1000", bytes: closeWith(1000, "bye"), close: websocket.CloseNormalClosure},
		{name: "close 1001", bytes: closeWith(1001, ""), close: websocket.CloseGoingAway},
		{name: "close 3000", bytes: closeWith(3000, "ä"), close: 3000},
		{name: "close 4999", bytes: closeWith(4999, ""), close: 4999},
		{name: "close, what follows is not looked at", bytes: join(closeWith(1000, ""), unmasked), close: websocket.CloseNormalClosure},
		{name: "close with half a code", bytes: masked(opClose, []byte{3}), close: websocket.CloseProtocolError},
		{name: "close 999", bytes: closeWith(999, ""), close: websocket.CloseProtocolError},
		{name: "close 1004", bytes: closeWith(1004, ""), close: websocket.CloseProtocolError},
		{name: "close 1005", bytes: closeWith(1005, ""), close: websocket.CloseProtocolError},
		{name: "close 1006", bytes: closeWith(1006, ""), close: websocket.CloseProtocolError},
		{name: "close 1015", bytes: closeWith(1015, ""), close: websocket.CloseProtocolError},
		{name: "close 2999", bytes: closeWith(2999, ""), close: websocket.CloseProtocolError},
		{name: "close 5000", bytes: closeWith(5000, ""), close: websocket.CloseProtocolError},
		{name: "close, a reason that is not UTF-8", bytes: closeWith(1000, "\xff"), close: websocket.CloseProtocolError},
	}
}

func TestRFC6455(t *testing.T) { onEachForm(t, rFC6455) }

func rFC6455(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	for _, c := range rfcCases() {
		t.Run(c.name, func(t *testing.T) {
			d := w.tap(t, alice)
			step := len(c.bytes)
			if c.slow {
				step = 1
			}
			for at := 0; at < len(c.bytes); at += step {
				d.write(c.bytes[at : at+step])
			}
			for got := 0; got < c.answers; {
				switch op, b := d.frame(); op {
				case framePong: // before or after the answers beside it
				case frameText:
					got++
				default:
					t.Fatalf("got %x %s", op, b)
				}
			}
			if c.close != 0 {
				d.ends(c.close)
				return
			}
			d.answers()
		})
	}
}
