package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client/socket"
	"github.com/parley-chat/parley/pkg/wire"
)

// The light path: raw frames, one goroutine per connection and, in the open loop, one pacer for all. The client
// shares the machine with the server, so what it costs is taken from what is measured.

const (
	inFlight   = 4096 // open loop: unanswered messages per sender, a power of two
	stampWidth = 20   // digits of the time at the beginning of every text
	closing    = 10 * time.Second
)

// fast is one run of the light path.
type fast struct {
	size     int
	receipts bool
	closed   bool

	acks, receives   *latencies
	acked, delivered *meter
	sent, refused    atomic.Int64
	skipped          atomic.Int64
	expected         atomic.Int64 // deliveries of what was sent in the measured time and acknowledged
	outstanding      atomic.Int64 // deliveries that are still to come
	origin           time.Time    // of the pacer's schedule
	view             view
	begin, end       time.Time // of the measured time
}

// view is how a run stands now; owned by the goroutine that draws.
type view struct {
	drawn            time.Time
	acked, delivered int64
	text             string
}

// now tells the rates of the last second and the percentiles so far.
func (f *fast) now() string {
	v, at := &f.view, time.Now()
	if at.Sub(v.drawn) < time.Second {
		return v.text
	}
	acked, delivered, seconds := f.acked.total.Load(), f.delivered.total.Load(), at.Sub(v.drawn).Seconds()
	acks := f.acks.merged()
	v.text = fmt.Sprintf("%7.0f acknowledged/s %8.0f delivered/s  p50 %.1f ms  p99 %.1f ms", float64(acked-v.acked)/seconds,
		float64(delivered-v.delivered)/seconds, float64(acks.ValueAtPercentile(50))/1000, float64(acks.ValueAtPercentile(99))/1000)
	v.drawn, v.acked, v.delivered = at, acked, delivered
	return v.text
}

// post is one connection: a sender, a receiver or both.
type post struct {
	f            *fast
	index        int
	conn         *socket.Conn
	conversation chat.ConversationID
	audience     int64 // who else gets what this one sends
	sends        bool

	writing sync.Mutex // the pacer and the reader (receipts) both write
	frame   []byte     // template of a send
	fields  offsets
	number  uint64
	starts  [inFlight]atomic.Int64 // intended start by frame id
	waiting atomic.Int64
}

// offsets are where a frame's changing parts stand in the template.
type offsets struct{ id, client, stamp int }

const (
	idWidth = 10
	firstID = 1_000_000_000 // a JSON number begins with no zero
)

// prepare makes the template: the numbers are overwritten for each message, nothing is encoded again.
func (p *post) prepare() {
	text := strings.Repeat("0", stampWidth) + " " + strings.Repeat("lorem ipsum dolor sit amet ", p.f.size/27+1)
	text = text[:max(p.f.size, stampWidth+1)]
	head := `{"id":`
	middle := `,"type":"message:send","data":{"conversation_id":"` + string(p.conversation) + `","client_id":"`
	tail := `","type":"text","text":"`
	p.fields.id = len(head)
	p.fields.client = p.fields.id + idWidth + len(middle)
	p.fields.stamp = p.fields.client + 36 + len(tail)
	p.frame = []byte(head + strings.Repeat("0", idWidth) + middle + strings.Repeat("0", 36) + tail + text + `"}}`)
}

// fill writes the next message into the template. start is its intended beginning.
func (p *post) fill(start time.Time) []byte {
	p.number++
	digits(p.frame[p.fields.id:p.fields.id+idWidth], firstID+p.number)
	client, _ := chat.NewClientID(time.Now().Add(p.conn.Offset())).MarshalText()
	copy(p.frame[p.fields.client:], client)
	digits(p.frame[p.fields.stamp:p.fields.stamp+stampWidth], uint64(start.UnixNano()))
	return p.frame
}

// digits writes v in decimal, with leading zeros, over the whole of b.
func digits(b []byte, v uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + v%10)
		v /= 10
	}
}

// send writes one message.
func (p *post) send(start time.Time) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	frame := p.fill(start)
	p.starts[p.number%inFlight].Store(start.UnixNano())
	p.waiting.Add(1)
	p.f.sent.Add(1)
	return p.conn.Write(frame)
}

// run reads until the connection ends, and tells why it did.
func (p *post) run() error {
	for {
		b, err := p.conn.Read()
		if err != nil {
			return err
		}
		switch typ := typeOf(b); typ {
		case wire.TypeMessageSent:
			err = p.onSent(b)
		case wire.TypeMessageReceived:
			err = p.onReceived(b)
		case wire.TypeError:
			err = p.onError(b)
		}
		if err != nil {
			return err
		}
	}
}

func (p *post) onSent(b []byte) error {
	now := time.Now()
	start := time.Unix(0, p.starts[(number(b, `"id":`)-firstID)%inFlight].Load())
	p.waiting.Add(-1)
	if !start.Before(p.f.begin) && start.Before(p.f.end) {
		p.f.acks.add(p.index, now.Sub(start))
		p.f.expected.Add(p.audience)
	}
	p.f.acked.add(now, 1)
	p.f.outstanding.Add(p.audience)
	if p.f.closed && now.Before(p.f.end) {
		return p.send(time.Now())
	}
	return nil
}

func (p *post) onReceived(b []byte) error {
	now := time.Now()
	p.f.outstanding.Add(-1)
	p.f.delivered.add(now, 1)
	if start := time.Unix(0, int64(number(b, `"text":"`))); !start.Before(p.f.begin) && start.Before(p.f.end) {
		p.f.receives.add(p.index, now.Sub(start))
	}
	if !p.f.receipts {
		return nil
	}
	seq := number(b, `"seq":`)
	p.writing.Lock()
	defer p.writing.Unlock()
	return p.conn.Write(cursorFrame(wire.TypeMessageDelivered, p.conversation, seq), cursorFrame(wire.TypeMessageRead, p.conversation, seq))
}

func cursorFrame(typ string, id chat.ConversationID, seq uint64) []byte {
	b := make([]byte, 0, 128)
	b = append(b, `{"type":"`...)
	b = append(b, typ...)
	b = append(b, `","data":{"conversation_id":"`...)
	b = append(b, id...)
	b = append(b, `","seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	return append(b, "}}"...)
}

// onError counts a refusal; the closed loop goes on after the server's hint.
func (p *post) onError(b []byte) error {
	p.f.refused.Add(1)
	p.waiting.Add(-1)
	f, err := socket.Decode(b)
	if err != nil {
		return err
	}
	refusal, ok := errors.AsType[*chat.Error](socket.ErrorOf(f))
	if !ok || !p.f.closed {
		return nil
	}
	if !refusal.Kind.Rule().Retryable {
		return fmt.Errorf("send: %w", refusal)
	}
	if time.Now().After(p.f.end) {
		return nil
	}
	pause := time.NewTimer(refusal.RetryAfter + 10*time.Millisecond)
	defer pause.Stop()
	<-pause.C
	return p.send(time.Now())
}

// typeOf finds the type of a frame without decoding it: it is the envelope's first text.
func typeOf(b []byte) string {
	const mark = `"type":"`
	at := bytes.Index(b[:min(len(b), 64)], []byte(mark))
	if at < 0 {
		f, err := socket.Decode(b)
		if err != nil {
			return ""
		}
		return f.Type
	}
	name, _, closed := bytes.Cut(b[at+len(mark):], []byte{'"'})
	if !closed {
		return ""
	}
	switch string(name) { // no allocation for those that come often
	case wire.TypeMessageSent:
		return wire.TypeMessageSent
	case wire.TypeMessageReceived:
		return wire.TypeMessageReceived
	}
	return string(name)
}

// number reads the decimal number after the first mark.
func number(b []byte, mark string) uint64 {
	at := bytes.Index(b, []byte(mark))
	if at < 0 {
		return 0
	}
	var v uint64
	for _, c := range b[at+len(mark):] {
		if c < '0' || c > '9' {
			break
		}
		v = v*10 + uint64(c-'0')
	}
	return v
}

// pace sends at rate per second over all senders, each message at its intended time however late the answers are.
func (f *fast) pace(ctx context.Context, senders []*post, rate int) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	gap := time.Second / time.Duration(rate)
	for k := 0; ; k++ {
		at := f.origin.Add(time.Duration(k) * gap)
		if at.After(f.end) {
			return nil
		}
		if wait := time.Until(at); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-timer.C:
			}
		}
		p := senders[k%len(senders)]
		if p.waiting.Load() >= inFlight {
			f.skipped.Add(1)
			continue
		}
		if err := p.send(at); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
}

// settle waits until everything acknowledged has been delivered, or nothing comes any more.
func (f *fast) settle(ctx context.Context, posts []*post) {
	deadline := time.Now().Add(closing)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(deadline) {
		waiting := f.outstanding.Load()
		for _, p := range posts {
			waiting += p.waiting.Load()
		}
		if waiting <= 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
