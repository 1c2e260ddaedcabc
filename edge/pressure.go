package edge

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
)

// What gives way, in this order, while sends are slow: each step with everything before it. An accepted send never
// does.
const (
	shedNothing int32 = iota
	shedTyping
	shedPresence
	shedReceipts    // who has read a message, and other looks at cursors by REST
	shedHistory     // pages, versions, lists
	shedConnections // new ones, logins
)

// shedAt is the mean time of a second's sends from which on a step gives way.
var shedAt = [...]time.Duration{
	shedTyping: 250 * time.Millisecond, shedPresence: 500 * time.Millisecond, shedReceipts: time.Second,
	shedHistory: 2 * time.Second, shedConnections: 3 * time.Second,
}

const shedRetry = 2 * time.Second // told to who was refused

// pressure is how hard it is to get a send through, judged once a second by those that were under way.
type pressure struct {
	step atomic.Int32

	answered atomic.Int64 // sends of this second
	took     atomic.Int64 // their time, nanoseconds
	underWay atomic.Int64
	silent   time.Time // since when sends are under way and none is answered; owned by judge
}

// begin is called when a send is handed on.
func (p *pressure) begin() time.Time {
	p.underWay.Add(1)
	return time.Now()
}

// end is called when it was answered.
func (p *pressure) end(began time.Time) {
	p.underWay.Add(-1)
	p.answered.Add(1)
	p.took.Add(int64(time.Since(began)))
}

// judge sets the step anew. A second without an answer to what is under way counts as long as it lasts.
func (p *pressure) judge(now time.Time) (step, before int32) {
	answered, took := p.answered.Swap(0), time.Duration(p.took.Swap(0))
	var mean time.Duration
	switch {
	case answered > 0:
		mean, p.silent = took/time.Duration(answered), time.Time{}
	case p.underWay.Load() == 0:
		p.silent = time.Time{}
	case p.silent.IsZero():
		p.silent = now
	default:
		mean = now.Sub(p.silent)
	}
	for step = shedConnections; step > shedNothing && mean < shedAt[step]; {
		step--
	}
	return step, p.step.Swap(step)
}

// sheds reports whether a step gives way now.
func (p *pressure) sheds(step int32) bool { return p.step.Load() >= step }

// relieve judges the pressure; called by the sweep.
func (e *Edge) relieve(now time.Time) {
	step, before := e.pressure.judge(now)
	e.metrics.pressure.Set(float64(step))
	if step != before {
		e.log.Warn("sends are slow or fast again: another part of the service gives way", slog.Int("step", int(step)), slog.Int("before", int(before)))
	}
}

// giveWay refuses what gives way at a step.
func (e *Edge) giveWay(step int32, what string) error {
	if !e.pressure.sheds(step) {
		return nil
	}
	e.metrics.shed.WithLabelValues(what).Inc()
	busy := chat.Errorf(chat.Unavailable, "the server is busy with sends")
	busy.RetryAfter = shedRetry
	return busy
}
