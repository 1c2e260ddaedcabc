package jetstream

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

const mostReason = 1024 // bytes of a reason that are kept

// putDead stores a message of a log with the reason why its consumer could not take it. A repeat
// within the broker's window of two minutes is stored once.
func putDead(ctx context.Context, js natsjs.JetStream, consumer string, t Token, m *nats.Msg, seq uint64, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	h := make(nats.Header, len(m.Header)+4)
	for name, values := range m.Header {
		if !strings.HasPrefix(name, "Nats-") { // the expectations of the first publish
			h[name] = values
		}
	}
	h.Set(HeaderReason, oneLine(reason))
	h.Set(HeaderSubject, m.Subject)
	h.Set(HeaderStreamSeq, formatUint(seq))
	id := fmt.Sprintf("%s.%s.%d", consumer, t, seq)
	_, err := js.PublishMsg(ctx, &nats.Msg{Subject: DeadSubject(consumer, t), Header: h, Data: m.Data}, natsjs.WithMsgID(id))
	if err != nil {
		return fmt.Errorf("dead letter %s: %w", id, unavailable(err))
	}
	return nil
}

// oneLine makes text fit for a header.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s[:min(len(s), mostReason)])
	return strings.ToValidUTF8(s, "")
}
