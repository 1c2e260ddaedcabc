package sqlite

import (
	"bytes"

	"github.com/parley-chat/parley/pkg/chat"
)

// headBytes is about what the head of a record's JSON takes.
const headBytes = 256

// pack is raw as a row keeps it: without the head, which the row's other columns say again. For a short
// message that is nearly half, so more rows stand on a page and fewer pages are written. What does not
// begin with the head of r is kept whole. scratch is used for the head, and returned to be used again.
func pack(scratch []byte, r *chat.Record, raw []byte) (kept, used []byte) {
	head := r.AppendHead(scratch[:0])
	if rest, ok := bytes.CutPrefix(raw, head); ok && isRest(rest) {
		return rest, head
	}
	return raw, head
}

// unpack is the record's JSON, in memory of its own. r holds what the row's columns say.
func unpack(r *chat.Record, kept []byte) []byte {
	if !isRest(kept) {
		return bytes.Clone(kept)
	}
	return append(r.AppendHead(make([]byte, 0, headBytes+len(kept))), kept...)
}

// isRest tells what follows a head from whole JSON, which never begins so.
func isRest(kept []byte) bool { return len(kept) > 0 && (kept[0] == ',' || kept[0] == '}') }
