package fanout

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/parley-chat/parley/pkg/chat"
)

type nowhere struct{}

func (nowhere) Send(string, []byte) error { return nil }

// BenchmarkGroupOf100 delivers 300-byte messages in batches to 99 members on one edge.
func BenchmarkGroupOf100(b *testing.B) { benchmarkDeliveries(b, 100, 1) }

// BenchmarkDirect delivers 300-byte messages of 50 pairs, both on one edge, in batches.
func BenchmarkDirect(b *testing.B) { benchmarkDeliveries(b, 2, 50) }

func benchmarkDeliveries(b *testing.B, members, conversations int) {
	const batch = 64
	w := started(b, Limits{})
	w.config.Transport = nowhere{}
	var ids []chat.ConversationID
	for c := range conversations {
		id := groupID(fmt.Sprint(c))
		names := make([]string, 0, members)
		for m := range members {
			names = append(names, fmt.Sprint("m", c, "-", m))
		}
		w.handle(b, w.create(id, names...))
		w.register(b, "e", names...)
		ids = append(ids, id)
	}
	text := strings.Repeat("x", 300)
	entries := make([]chat.Entry, 0, b.N)
	for i := range b.N {
		c := i % conversations
		entries = append(entries, w.say(ids[c], fmt.Sprint("m", c, "-0"), text))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for len(entries) > 0 {
		n := min(batch, len(entries))
		if err := w.Handle(context.Background(), entries[:n]); err != nil {
			b.Fatal(err)
		}
		entries = entries[n:]
	}
	b.ReportMetric(float64(b.N*members)/b.Elapsed().Seconds(), "deliveries/s")
}
