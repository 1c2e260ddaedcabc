package jetstream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"
)

// Pulls are short: a broken one costs a consumer at most pullSilence.
const (
	pullExpires   = 2 * time.Second
	pullHeartbeat = 500 * time.Millisecond
	pullSilence   = 1500 * time.Millisecond // nothing heard of an open pull: it is lost
	pullBytes     = 8 << 20                 // of one pull; with the next one behind it, twice that is buffered
)

// puller fetches from a durable consumer. It has at most one pull open, and the next one behind a
// batch that used the last up, so what it buffers is bounded. Owned by one goroutine.
type puller struct {
	nc     *nats.Conn
	stream string
	name   string // of the consumer
	batch  int

	sub    *nats.Subscription
	inbox  string
	number int // of the present pull: its replies come to inbox.number
	credit int // messages that the present pull may still bring
}

var (
	errNoConsumer = errors.New("the consumer does not answer")
	errPullEnded  = errors.New("the pull has ended")
)

// idleEnds is how many pulls in a row may end without a message although the stream has one: then
// another process's pull, or the broker, holds it back, and the consumer is reset.
const idleEnds = 2

func openPuller(nc *nats.Conn, stream, consumer string, batch int) (*puller, error) {
	p := &puller{nc: nc, stream: stream, name: consumer, batch: batch, inbox: nc.NewInbox()}
	sub, err := nc.SubscribeSync(p.inbox + ".*")
	if err != nil {
		return nil, fmt.Errorf("pull from %s of %s: %w", consumer, stream, unavailable(err))
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil { // bounded by the pulls themselves
		_ = sub.Unsubscribe()
		return nil, fmt.Errorf("pull from %s of %s: %w", consumer, stream, err)
	}
	p.sub = sub
	return p, nil
}

func (p *puller) close() { _ = p.sub.Unsubscribe() }

// next waits for messages and returns those that are there, at most a batch; none when a pull ended
// without any.
func (p *puller) next(ctx context.Context) ([]*nats.Msg, error) {
	var got []*nats.Msg
	size := 0
	for {
		if p.credit == 0 {
			if err := p.pull(); err != nil {
				return got, err
			}
		}
		if len(got) > 0 && (len(got) == p.batch || size >= pullBytes || p.buffered() == 0) {
			return got, nil
		}
		m, err := p.receive(ctx)
		if errors.Is(err, errPullEnded) && len(got) == 0 {
			return nil, nil
		}
		if err != nil && !errors.Is(err, errPullEnded) {
			return got, err
		}
		if m == nil {
			continue
		}
		got = append(got, m)
		size += len(m.Data)
		p.credit = max(p.credit-1, 0)
	}
}

func (p *puller) buffered() int {
	n, _, err := p.sub.Pending()
	if err != nil {
		return 0
	}
	return n
}

// receive waits for one message; nil for a heartbeat.
func (p *puller) receive(ctx context.Context) (*nats.Msg, error) {
	limited, cancel := context.WithTimeout(ctx, pullSilence)
	defer cancel()
	m, err := p.sub.NextMsgWithContext(limited)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		p.credit = 0
		if p.nc.IsClosed() {
			return nil, nats.ErrConnectionClosed
		}
		return nil, errPullEnded
	case err != nil:
		return nil, fmt.Errorf("pull from %s of %s: %w", p.name, p.stream, err)
	}
	status := m.Header.Get("Status")
	if status == "" || len(m.Data) > 0 || strings.HasPrefix(m.Reply, "$JS.ACK.") {
		return m, nil
	}
	if status == "100" || m.Subject != p.reply() {
		return nil, nil // a heartbeat, or the end of a pull that was given up
	}
	p.credit = 0
	if description := m.Header.Get("Description"); status == "503" || strings.Contains(description, "Deleted") {
		return nil, fmt.Errorf("pull from %s of %s: %w (%s %s)", p.name, p.stream, errNoConsumer, status, description)
	}
	return nil, errPullEnded
}

func (p *puller) reply() string { return fmt.Sprintf("%s.%d", p.inbox, p.number) }

func (p *puller) pull() error {
	p.number++
	body, err := json.Marshal(struct {
		Batch     int   `json:"batch"`
		MaxBytes  int   `json:"max_bytes"`
		Expires   int64 `json:"expires"`
		Heartbeat int64 `json:"idle_heartbeat"`
	}{p.batch, pullBytes, int64(pullExpires), int64(pullHeartbeat)})
	if err != nil {
		return fmt.Errorf("pull from %s of %s: %w", p.name, p.stream, err)
	}
	err = p.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+p.stream+"."+p.name, p.reply(), body)
	if err != nil {
		return fmt.Errorf("pull from %s of %s: %w", p.name, p.stream, unavailable(err))
	}
	p.credit = p.batch
	return nil
}

// ack tells the broker that everything up to m is done. It is not confirmed: the floor serves figures
// and the next start alone.
func (p *puller) ack(m *nats.Msg) { _ = p.nc.Publish(m.Reply, []byte("+ACK")) }
