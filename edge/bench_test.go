package edge

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// nowhere is a socket whose client reads at once.
type nowhere struct{ closed chan struct{} }

func (n nowhere) ReadFrame() (inbound, error)    { <-n.closed; return inbound{}, net.ErrClosed }
func (nowhere) recycle(inbound)                  {}
func (nowhere) WriteFrames([][]byte) error       { return nil }
func (nowhere) SetReadDeadline(time.Time) error  { return nil }
func (nowhere) SetWriteDeadline(time.Time) error { return nil }
func (nowhere) Shut() error                      { return nil }

// BenchmarkDeliver hands hops of one 300-byte message to a number of connections; writes go nowhere.
func BenchmarkDeliver(b *testing.B) {
	for _, recipients := range []int{1, 100} {
		b.Run(fmt.Sprintf("recipients=%d", recipients), func(b *testing.B) {
			w := newWorld(b)
			var users []chat.UserID
			closed := make(chan struct{})
			for range recipients {
				u := chat.NewUserID()
				users = append(users, u)
				c := newConnection(w.edge, nowhere{closed})
				who := auth.Claims{UserID: u, SessionID: chat.NewSessionID()}
				c.claims.Store(&who)
				w.edge.known(c, who)
				w.edge.spawn(c.write)
				b.Cleanup(func() { c.finish(1000, "") })
			}
			b.Cleanup(func() { close(closed) })
			r := chat.Record{ConversationID: "g", Kind: chat.KindMessage, SenderID: users[0], Type: "text", Text: string(make([]byte, 300))}
			frame := wire.AppendRaw(nil, wire.TypeMessageReceived, r.AppendJSON(nil))
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				h := wire.Hop{Generation: 1, Term: 1, Prev: uint64(i), Deliveries: []wire.Delivery{
					{Seq: uint64(i + 1), Recipients: users, Conversation: "g", RecordSeq: chat.Seq(i + 1), Frame: frame},
				}}
				w.edge.Deliver(wire.AppendHop(nil, &h))
			}
			b.ReportMetric(float64(b.N*recipients)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// BenchmarkSend is one client's closed loop: frame, command, answer, over a real socket; the model commits.
func BenchmarkSend(b *testing.B) {
	w := newWorld(b, func(c *Config) { c.NoLimits = true })
	alice := w.person("alice")
	groups := make([]chat.ConversationID, 0, b.N/1000+1)
	for range cap(groups) {
		groups = append(groups, w.group(alice)) // the model's look at its log grows with it
	}
	d := w.login(b, alice)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		d.send(wire.TypeMessageSend, message(groups[i%len(groups)], "a message"))
		d.want(wire.TypeMessageSent)
	}
}
