package edge

import (
	"fmt"
	"testing"
	"time"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// nowhere is a conn whose client reads at once.
type nowhere struct{ c *connection }

func (nowhere) begin()               {}
func (nowhere) aside(f func())       { f() }
func (n nowhere) flush()             { n.c.out.take() }
func (nowhere) sweep(time.Time) bool { return false }

// BenchmarkDeliver hands hops of one 300-byte message to a number of connections; writes go nowhere.
func BenchmarkDeliver(b *testing.B) {
	for _, recipients := range []int{1, 100} {
		b.Run(fmt.Sprintf("recipients=%d", recipients), func(b *testing.B) {
			w := newWorld(b)
			var users []chat.UserID
			for range recipients {
				u := chat.NewUserID()
				users = append(users, u)
				c := newConnection(w.edge)
				c.conn = nowhere{c}
				who := auth.Claims{UserID: u, SessionID: chat.NewSessionID()}
				c.claims.Store(&who)
				w.edge.known(c, who)
			}
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
