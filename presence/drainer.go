package presence

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/parley-chat/parley/pkg/chat"
)

// CursorChange is one person's cursors in one conversation after a change of the hot bucket.
type CursorChange struct {
	StreamSeq      uint64
	ConversationID chat.ConversationID
	UserID         chat.UserID
	Cursors        chat.Cursors
}

// Row is one person's cursors in one conversation.
type Row struct {
	ConversationID chat.ConversationID
	UserID         chat.UserID
	Cursors        chat.Cursors
}

// Sink merges rows by maximum into the message store.
type Sink interface {
	PutCursors(ctx context.Context, rows []Row) error
}

const rowsAtOnce = 500 // of one PutCursors

// DrainerConfig is what a Drainer needs.
type DrainerConfig struct {
	Barrier Barrier
	Sink    Sink
	Reg     prometheus.Registerer
}

// Drainer writes hot cursors into the store. One serves every partition; safe for concurrent use.
type Drainer struct {
	config  DrainerConfig
	metrics *drainMetrics
}

// NewDrainer makes a Drainer.
func NewDrainer(c DrainerConfig) *Drainer {
	return &Drainer{config: c, metrics: newDrainMetrics(c.Reg)}
}

// Handle stores a batch that has been fetched. It first waits for a barrier that begins now, so that the
// store never holds a cursor that a power cut takes from the bucket. The batch bounds what it holds; an error
// means that the batch is to be handed again.
func (d *Drainer) Handle(ctx context.Context, batch []CursorChange) error {
	if len(batch) == 0 {
		return nil
	}
	if err := d.config.Barrier.Sync(ctx); err != nil {
		d.metrics.failures.Inc()
		return fmt.Errorf("barrier before draining cursors: %w", err)
	}
	rows := coalesce(batch)
	for part := range slices.Chunk(rows, rowsAtOnce) {
		if err := d.config.Sink.PutCursors(ctx, part); err != nil {
			d.metrics.failures.Inc()
			return fmt.Errorf("store %d cursors: %w", len(part), err)
		}
	}
	d.metrics.changes.Add(float64(len(batch)))
	d.metrics.rows.Add(float64(len(rows)))
	return nil
}

// coalesce leaves one row for each person and conversation, in order of first appearance.
func coalesce(batch []CursorChange) []Row {
	type key struct {
		id   chat.ConversationID
		user chat.UserID
	}
	rows := make([]Row, 0, len(batch))
	at := make(map[key]int, len(batch))
	for _, c := range batch {
		k := key{c.ConversationID, c.UserID}
		i, seen := at[k]
		if !seen {
			i = len(rows)
			at[k] = i
			rows = append(rows, Row{ConversationID: c.ConversationID, UserID: c.UserID})
		}
		rows[i].Cursors = rows[i].Cursors.Max(c.Cursors)
	}
	return rows
}
