package client

import (
	"context"
	"maps"
	"sync"

	"github.com/parley-chat/parley/pkg/chat"
)

// Store keeps how far a device is, per conversation: the highest seq up to which it has shown everything.
// Only Run's event goroutine writes to it.
type Store interface {
	Positions(ctx context.Context) (map[chat.ConversationID]chat.Seq, error)
	// Put moves a position; it never goes back.
	Put(ctx context.Context, id chat.ConversationID, seq chat.Seq) error
	// Delete forgets a conversation that may not be seen any more.
	Delete(ctx context.Context, id chat.ConversationID) error
}

// MemoryStore forgets everything with the process: after a restart the newest 100 messages of each
// conversation, and everything below them unless gaps are skipped, are shown again.
type MemoryStore struct {
	mu        sync.Mutex
	positions map[chat.ConversationID]chat.Seq
}

// NewMemoryStore makes an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{positions: map[chat.ConversationID]chat.Seq{}}
}

// Positions is a copy of all positions.
func (s *MemoryStore) Positions(context.Context) (map[chat.ConversationID]chat.Seq, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.positions), nil
}

// Put moves a position forward.
func (s *MemoryStore) Put(_ context.Context, id chat.ConversationID, seq chat.Seq) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.positions[id] = max(s.positions[id], seq)
	return nil
}

// Delete forgets a conversation.
func (s *MemoryStore) Delete(_ context.Context, id chat.ConversationID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.positions, id)
	return nil
}
