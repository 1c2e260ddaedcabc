package main

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parley-chat/parley/fanout"
	"github.com/parley-chat/parley/jetstream"
	"github.com/parley-chat/parley/pkg/chat"
)

// lossyHop loses, repeats and delays hops between fan-out and edge.
type lossyHop struct {
	to                     fanout.Transport
	lost, repeated, halted *atomic.Int64
}

func (l lossyHop) Send(edge string, hop []byte) error {
	switch n := rand.N(100); {
	case n < 3:
		l.lost.Add(1)
		return nil
	case n < 6:
		l.repeated.Add(1)
		if err := l.to.Send(edge, bytes.Clone(hop)); err != nil {
			return err
		}
	case n < 7:
		l.halted.Add(1)
		pause(context.Background(), rand.N(100*time.Millisecond))
	}
	return l.to.Send(edge, hop)
}

// TestFaultHop loses 3 % of the hops to the edge, repeats 3 % and delays 1 %.
func TestFaultHop(t *testing.T) {
	var lost, repeated, halted atomic.Int64
	p := serveHere(t, time.Now, faults{hop: func(to fanout.Transport) fanout.Transport {
		return lossyHop{to, &lost, &repeated, &halted}
	}})
	startLoad(t, p, faultTime(t), mixed()...).verdict(p)
	t.Logf("%d hops lost, %d repeated, %d delayed", lost.Load(), repeated.Load(), halted.Load())
	if lost.Load() == 0 || repeated.Load() == 0 || halted.Load() == 0 {
		t.Error("the hop was not faulty")
	}
}

// repeater hands batches on more than once: as a whole, after a part of them, and with an error behind the effect.
type repeater struct {
	to    jetstream.Handler
	count *atomic.Int64
}

var errRepeat = errors.New("handed again by the test")

func (r repeater) Handle(ctx context.Context, batch []chat.Entry) error {
	switch n := rand.N(20); {
	case n == 0: // a part, then all of it
		r.count.Add(1)
		if err := r.to.Handle(ctx, batch[:1+rand.N(len(batch))]); err != nil {
			return err
		}
		return errRepeat
	case n == 1:
		r.count.Add(1)
		if err := r.to.Handle(ctx, batch); err != nil {
			return err
		}
		return errRepeat
	case n < 5:
		r.count.Add(1)
		if err := r.to.Handle(ctx, batch); err != nil {
			return err
		}
	}
	return r.to.Handle(ctx, batch)
}

func (r repeater) Quarantine(e chat.Entry, reason string) { r.to.Quarantine(e, reason) }

// TestFaultRedelivery has every consumer of the log see many batches more than once.
func TestFaultRedelivery(t *testing.T) {
	var count atomic.Int64
	p := serveHere(t, time.Now, faults{handler: func(_ string, h jetstream.Handler) jetstream.Handler {
		return repeater{h, &count}
	}})
	startLoad(t, p, faultTime(t), mixed()...).verdict(p)
	t.Logf("%d batches handed again", count.Load())
	if count.Load() == 0 {
		t.Error("nothing was handed again")
	}
}
