package edge

import (
	"bytes"
	"strconv"

	"github.com/parley-chat/parley/pkg/chat"
)

// headOf reads n and id from the beginning of a pushed record, as chat.Record.AppendJSON writes it: both stand
// before any text of people.
func headOf(seq chat.Seq, head []byte) (chat.Head, bool) {
	n, ok := numberAfter(head, `,"n":`)
	if !ok {
		return chat.Head{}, false
	}
	id, ok := numberAfter(head, `,"id":"`)
	return chat.Head{Seq: seq, N: n, ID: chat.ID(id)}, ok
}

func numberAfter(b []byte, name string) (uint64, bool) {
	at := bytes.Index(b, []byte(name))
	if at < 0 {
		return 0, false
	}
	digits := b[at+len(name):]
	end := 0
	for end < len(digits) && digits[end] >= '0' && digits[end] <= '9' {
		end++
	}
	v, err := strconv.ParseUint(string(digits[:end]), 10, 64)
	return v, err == nil
}
