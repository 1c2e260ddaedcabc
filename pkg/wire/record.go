package wire

import (
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/chat"
)

// DecodeRecord reads a record from the bytes that chat.Record.AppendJSON wrote. Unknown fields pass.
func DecodeRecord(raw []byte) (chat.Record, error) {
	var r chat.Record
	if err := json.Unmarshal(raw, &r); err != nil {
		return chat.Record{}, fmt.Errorf("decode record: %w", err)
	}
	return r, nil
}
