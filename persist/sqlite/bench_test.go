package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parley-chat/parley/persist"
	"github.com/parley-chat/parley/persist/persisttest"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

const benchBatch = 500

// benchLog is messages of 300 bytes over conversations of two, as many batches as asked for.
func benchLog(conversations, messages int) *persisttest.Log {
	l := persisttest.NewLog()
	l.Step = time.Millisecond
	text := strings.Repeat("x", 300)
	for i := range conversations {
		l.Create(persisttest.Group(i), persisttest.User(2*i), persisttest.User(2*i+1))
	}
	for i := range messages {
		c := i % conversations
		l.Send(persisttest.Group(c), persisttest.User(2*c+i/conversations%2), text)
	}
	return l
}

func store(b *testing.B, s *Store, l *persisttest.Log) {
	b.Helper()
	for from := 0; from < len(l.Entries); from += benchBatch {
		if err := s.Write(b.Context(), 0, l.Batch(from, min(from+benchBatch, len(l.Entries)))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWrite stores messages of 300 bytes in batches of 500.
func BenchmarkWrite(b *testing.B) {
	for _, conversations := range []int{1, 50, 5000} {
		b.Run(fmt.Sprintf("conversations=%d", conversations), func(b *testing.B) {
			l := benchLog(conversations, b.N)
			s := open(b, filepath.Join(b.TempDir(), "messages.db"))
			b.ResetTimer()
			store(b, s, l)
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

type noLog struct{}

func (noLog) Get(context.Context, uint32, chat.ConversationID, []chat.Place) ([]chat.Entry, error) {
	return nil, nil
}

// BenchmarkPage reads pages of 50 out of a million rows.
func BenchmarkPage(b *testing.B) {
	const rows, conversations = 1_000_000, 100
	s := open(b, filepath.Join(b.TempDir(), "messages.db"))
	defer func() { _ = s.Close() }()
	l := benchLog(conversations, rows)
	store(b, s, l)
	h := persist.NewHistory(persist.HistoryConfig{Store: s, Log: noLog{}})
	pages := map[string]func(head chat.Head) conversation.PageQuery{
		"newest": func(chat.Head) conversation.PageQuery { return conversation.PageQuery{} },
		"random": func(head chat.Head) conversation.PageQuery {
			at := chat.Position(rand.Uint64N(uint64(head.Seq)) + 1)
			return conversation.PageQuery{Around: &at}
		},
		"time": func(head chat.Head) conversation.PageQuery {
			return conversation.PageQuery{At: persisttest.Epoch.Add(time.Duration(rand.Int64N(int64(head.ID.Time().Sub(persisttest.Epoch)))))}
		},
	}
	for name, query := range pages {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				state := l.State(persisttest.Group(rand.IntN(conversations)))
				q := query(state.Head)
				q.Answer, q.Visible, q.Limit = conversation.Answer{State: state, Generation: 1}, []conversation.Interval{{Joined: 1}}, 50
				if p, err := h.Page(b.Context(), q); err != nil || len(p.Messages) < 50 && name != "time" {
					b.Fatal(len(p.Messages), err)
				}
			}
		})
	}
}
