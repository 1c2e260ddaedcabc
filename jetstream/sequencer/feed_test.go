package sequencer

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
)

// collector is a consumer that keeps what it was handed.
type collector struct {
	mu   sync.Mutex
	seen []chat.Entry
}

func (c *collector) Handle(_ context.Context, batch []chat.Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, batch...)
	return nil
}

func (c *collector) Quarantine(chat.Entry, string) {}

func (c *collector) entries() []chat.Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]chat.Entry(nil), c.seen...)
}

// The feed must tell exactly what a consumer would have read from the log: every kind of record, every header.
func TestTheFeedTellsWhatTheLogTells(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	lease := &grant{terms: &w.term}
	c.Feed, c.Lease = jetstream.NewFeed(), lease
	s := w.start(c)
	reg := prometheus.NewRegistry()
	got := &collector{}
	loop := jetstream.NewLoop(jetstream.LoopConfig{
		NC: w.connect("consumer"), Token: w.token, Consumer: jetstream.ConsumerPersist, Handler: got, Gate: s,
		Start: func(context.Context) (uint64, error) { return 1, nil }, Feed: c.Feed, Reg: reg, Log: quiet(),
	})
	ctx, cancel := context.WithCancel(w.ctx)
	ended := make(chan error, 1)
	go func() { ended <- loop.Run(ctx) }()

	everything := func(i int) {
		id := groupID(i)
		s.do(w.create(id, user(0), user(1), user(2)))
		for n := range 20 {
			traced := w.send(id, user(n%2), fmt.Sprint("text ", n))
			traced.Trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
			s.do(traced)
		}
		s.do(w.edit(id, user(0), 2, "edited"))
		s.do(w.delete(id, user(1), 3))
		s.do(w.remove(id, user(0), user(2)))
	}
	all := func() bool { return len(got.entries()) == len(w.log()) }
	everything(1)
	w.eventually("the consumer to have caught up", all)
	everything(2)
	lease.lose() // a takeover in place: fences in the log, nothing of them in the feed
	everything(3)
	w.eventually("the consumer to have come through the takeover", all)
	everything(4)
	w.eventually("the consumer to have everything", all)
	cancel()
	<-ended
	if diff := cmp.Diff(w.log(), got.entries()); diff != "" {
		t.Errorf("the feed differs from the log:\n%s", diff)
	}
	if followed := counted(t, reg, "parley_jetstream_consumer_followed_total"); followed < 20 {
		t.Errorf("%v entries came from the feed", followed)
	}
}

func counted(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
