package wire

import (
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/chat"
)

// DecodeRecord reads a record from the bytes that chat.Record.AppendJSON wrote. Unknown kinds and fields pass;
// a preference must say of which conversation it is, and until when in a form that can be read.
func DecodeRecord(raw []byte) (chat.Record, error) {
	var r chat.Record
	if err := json.Unmarshal(raw, &r); err != nil {
		return chat.Record{}, fmt.Errorf("decode record: %w", err)
	}
	if err := checkPreference(&r); err != nil {
		return chat.Record{}, fmt.Errorf("decode record: %w", err)
	}
	return r, nil
}

// checkPreference does not ask for a field that is known: a later version may have further ones.
func checkPreference(r *chat.Record) error {
	if r.Kind != chat.KindPreference {
		return nil
	}
	if _, err := chat.ParseConversationID(string(r.About)); err != nil {
		return fmt.Errorf("about: %w", err)
	}
	if r.MutedUntil == nil {
		return nil
	}
	_, err := chat.ParseMutedUntil(string(*r.MutedUntil))
	return err
}
