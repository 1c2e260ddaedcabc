package roster

import (
	"context"
	"fmt"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/directory"
)

const (
	rebuildPage = 500  // conversations listed at once
	rebuildRows = 2000 // participants written at once, a larger conversation alone
)

// RebuildSource is the part of persist.Store that a projection can be made from.
type RebuildSource interface {
	Conversations(ctx context.Context, after chat.ConversationID, limit int) ([]chat.ConversationID, error)
	Load(ctx context.Context, id chat.ConversationID) (conversation.Loaded, error)
}

// Rebuild projects every conversation of one partition of count from the store's states, then moves the
// position to the given one and returns how many there were. The caller takes position from the store
// before the call: what the log holds above it is handled by the Worker as always, and rows that are newer
// than it already stay as they are. A Rebuild that failed is simply run again.
func Rebuild(ctx context.Context, source RebuildSource, to Directory, partition, count int, position chat.Mark) (conversations int, err error) {
	r := rebuild{to: to, partition: partition}
	after := chat.ConversationID("")
	for {
		ids, err := source.Conversations(ctx, after, rebuildPage)
		if err != nil {
			return r.conversations, fmt.Errorf("rebuild partition %d: list after %q: %w", partition, after, err)
		}
		if len(ids) == 0 {
			break
		}
		for _, id := range ids {
			if id.Partition(count) != partition {
				continue
			}
			if err := r.add(ctx, source, id); err != nil {
				return r.conversations, err
			}
		}
		after = ids[len(ids)-1]
	}
	r.rows.Position = position
	return r.conversations, r.flush(ctx)
}

// rebuild gathers rows until there are enough for one write.
type rebuild struct {
	to            Directory
	partition     int
	rows          directory.Projection
	conversations int
}

func (r *rebuild) add(ctx context.Context, source RebuildSource, id chat.ConversationID) error {
	loaded, err := source.Load(ctx, id)
	if err != nil {
		return fmt.Errorf("rebuild partition %d: load %s: %w", r.partition, id, err)
	}
	if !loaded.State.Exists() {
		return nil
	}
	stateRows(&r.rows, loaded.State)
	r.conversations++
	if len(r.rows.Participants) < rebuildRows {
		return nil
	}
	return r.flush(ctx)
}

func (r *rebuild) flush(ctx context.Context) error {
	if err := r.to.Project(ctx, r.partition, r.rows); err != nil {
		return fmt.Errorf("rebuild partition %d: %w", r.partition, err)
	}
	r.rows = directory.Projection{}
	return nil
}
