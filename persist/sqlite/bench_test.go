package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
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
			measured(b, "records", func() { store(b, s, l) })
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// cpu is the processor time of this process, kernel included.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measured reports what f costs for each of b.N rows.
func measured(b *testing.B, rows string, f func()) {
	b.Helper()
	runtime.GC()
	before := cpu()
	b.ResetTimer()
	f()
	b.StopTimer()
	b.ReportMetric(float64(cpu()-before)/float64(time.Microsecond)/float64(b.N), "CPU-us/"+strings.TrimSuffix(rows, "s"))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), rows+"/s")
}

// direct is the conversation of the i-th pair.
func direct(i int) chat.ConversationID {
	return chat.DirectID([]byte("bench"), persisttest.User(2*i), persisttest.User(2*i+1))
}

// pairsLog is what many pairs of chatters give: messages of 300 bytes over direct conversations in no
// fixed order, senders taking turns, every client id a UUIDv7. The first conversations entries make them.
func pairsLog(conversations, messages int) *persisttest.Log {
	l := persisttest.NewLog()
	l.Step = 100 * time.Microsecond
	random := rand.New(rand.NewPCG(1, 2))
	text := strings.Repeat("x", 300)
	for i := range conversations {
		members := []chat.MemberEntry{{UserID: persisttest.User(2 * i), Role: chat.RoleMember}, {UserID: persisttest.User(2*i + 1), Role: chat.RoleMember}}
		l.Append(chat.Record{
			ConversationID: direct(i), Kind: chat.KindCreate, SenderID: members[0].UserID, Type: string(chat.Direct),
			History: chat.HistoryAll, Members: members,
		})
	}
	turn := make([]int, conversations)
	for range messages {
		c := random.IntN(conversations)
		client := persisttest.Client(l.Now, 0)
		binary.BigEndian.PutUint64(client[8:], random.Uint64()>>2|1<<63)
		l.Append(chat.Record{
			ConversationID: direct(c), Kind: chat.KindMessage, SenderID: persisttest.User(2*c + turn[c]), ClientID: client,
			Type: chat.MessageText, Text: text,
		})
		turn[c] ^= 1
	}
	return l
}

// BenchmarkPairs stores what fifty pairs and more give in 20 ms at a time: 160 messages over 100 direct
// conversations.
func BenchmarkPairs(b *testing.B) {
	const batch, conversations = 160, 100
	l := pairsLog(conversations, b.N)
	s := open(b, filepath.Join(b.TempDir(), "messages.db"))
	defer func() { _ = s.Close() }()
	write := func(from, to int) {
		if err := s.Write(b.Context(), 0, l.Batch(from, to)); err != nil {
			b.Fatal(err)
		}
	}
	write(0, conversations)
	measured(b, "records", func() {
		for from := conversations; from < len(l.Entries); from += batch {
			write(from, min(from+batch, len(l.Entries)))
		}
	})
}

// BenchmarkPutCursors merges cursors of both people of 100 conversations, 200 rows at a time.
func BenchmarkPutCursors(b *testing.B) {
	const conversations = 100
	s := open(b, filepath.Join(b.TempDir(), "messages.db"))
	defer func() { _ = s.Close() }()
	l := pairsLog(conversations, 0)
	if err := s.Write(b.Context(), 0, l.Batch(0, conversations)); err != nil {
		b.Fatal(err)
	}
	rows := make([]persist.CursorRow, 2*conversations)
	measured(b, "rows", func() {
		for n := 0; n < b.N; n += len(rows) {
			at := chat.Cursor{Seq: chat.Seq(n + 1), N: uint64(n)}
			for i := range rows {
				rows[i] = persist.CursorRow{ConversationID: direct(i / 2), UserID: persisttest.User(i), Cursors: chat.Cursors{Read: at, Delivered: at}}
			}
			if err := s.PutCursors(b.Context(), rows); err != nil {
				b.Fatal(err)
			}
		}
	})
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
			before := cpu()
			for b.Loop() {
				state := l.State(persisttest.Group(rand.IntN(conversations)))
				q := query(state.Head)
				q.Answer, q.Visible, q.Limit = conversation.Answer{State: state, Generation: 1}, []conversation.Interval{{Joined: 1}}, 50
				if p, err := h.Page(b.Context(), q); err != nil || len(p.Messages) < 50 && name != "time" {
					b.Fatal(len(p.Messages), err)
				}
			}
			b.ReportMetric(float64(cpu()-before)/float64(time.Microsecond)/float64(b.N), "CPU-us/page")
		})
	}
}
