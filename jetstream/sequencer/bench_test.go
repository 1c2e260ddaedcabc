package sequencer

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// BenchmarkCommit measures what one partition acknowledges, senders in a closed loop on a conversation
// each, 300 bytes of text, the log alone (no consumer, no socket): the sequencer as it is, and two other
// ways to be durable. Run with a fixed count, such as -benchtime 100000x.
func BenchmarkCommit(b *testing.B) {
	for _, senders := range []int{50, 500} {
		b.Run(fmt.Sprintf("sequencer/%d", senders), func(b *testing.B) { benchSequencer(b, senders) })
		b.Run(fmt.Sprintf("atomic-batch/%d", senders), func(b *testing.B) { benchAtomic(b, senders) })
		b.Run(fmt.Sprintf("sync-always/%d", senders), func(b *testing.B) { benchAlways(b, senders) })
	}
}

func benchSequencer(b *testing.B, senders int) {
	w := newWorld(b)
	barrier := jetstream.NewSyncfs(w.folder, nil)
	b.Cleanup(func() { _ = barrier.Close() })
	c := w.config()
	c.Barrier = barrier
	c.bounds = bounds{}
	s := w.start(c)
	sends := make([]conversation.Command, senders)
	for i := range senders {
		s.do(w.create(groupID(i), user(0)))
		sends[i] = w.send(groupID(i), user(0), strings.Repeat("x", 300))
	}
	closedLoop(b, senders, func(sender, _ int) error {
		c := sends[sender]
		c.ClientID = w.client()
		_, err := s.Submit(context.Background(), c)
		return err
	})
}

// closedLoop has b.N sends done by senders and reports rate, latency and the process's CPU time.
func closedLoop(b *testing.B, senders int, send func(sender, i int) error) {
	b.Helper()
	var next atomic.Int64
	took := make([][]time.Duration, senders)
	var working sync.WaitGroup
	before := cpu()
	b.ResetTimer()
	for sender := range senders {
		working.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				began := time.Now()
				if err := send(sender, int(i)); err != nil {
					b.Error(err)
					return
				}
				took[sender] = append(took[sender], time.Since(began))
			}
		})
	}
	working.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	if len(all) == 0 {
		return
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "acked/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchMessage(token jetstream.Token, sender, i int, text string) *nats.Msg {
	e := chat.Entry{Record: chat.Record{
		ConversationID: groupID(sender), Seq: chat.Seq(i), N: uint64(i), ID: chat.ID(i), Kind: chat.KindMessage,
		SenderID: user(0), ClientID: chat.NewClientID(time.Now()), Type: chat.MessageText, Text: text,
	}, Term: 1}
	e.Raw = e.AppendJSON(nil)
	return jetstream.EncodeEntry(token, &e)
}

// benchAtomic commits what has queued as one atomic batch, then the barrier.
func benchAtomic(b *testing.B, senders int) {
	w := newWorld(b)
	barrier := jetstream.NewSyncfs(w.folder, nil)
	b.Cleanup(func() { _ = barrier.Close() })
	type waiting struct {
		m    *nats.Msg
		done chan error
	}
	queue := make(chan waiting, senders)
	var committing sync.WaitGroup
	committing.Go(func() {
		for first := range queue {
			group := []waiting{first}
			for len(group) < groupMost && len(queue) > 0 {
				group = append(group, <-queue)
			}
			id := w.nc.NewInbox()
			var err error
			for i, g := range group {
				g.m.Header["Nats-Batch-Id"] = []string{id}
				g.m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
				if i < len(group)-1 {
					err = w.nc.PublishMsg(g.m)
					continue
				}
				g.m.Header["Nats-Batch-Commit"] = []string{"1"}
				var m *nats.Msg
				if m, err = w.nc.RequestMsg(g.m, patience); err == nil {
					_, err = answered(m)
				}
			}
			if err == nil {
				err = barrier.Sync(context.Background())
			}
			for _, g := range group {
				g.done <- err
			}
		}
	})
	text := strings.Repeat("x", 300)
	closedLoop(b, senders, func(sender, i int) error {
		g := waiting{benchMessage(w.token, sender, i, text), make(chan error, 1)}
		queue <- g
		return <-g.done
	})
	close(queue)
	committing.Wait()
}

// benchAlways publishes each message by itself; the server syncs it before it answers.
func benchAlways(b *testing.B, senders int) {
	w := newWorld(b)
	w.nc.Close()
	w.server.Stop()
	w.startServer(true)
	text := strings.Repeat("x", 300)
	closedLoop(b, senders, func(sender, i int) error {
		m, err := w.nc.RequestMsg(benchMessage(w.token, sender, i, text), patience)
		if err != nil {
			return err
		}
		_, err = answered(m)
		return err
	})
}
