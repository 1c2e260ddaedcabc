package checker

import "github.com/parley-chat/parley/pkg/chat"

// bits is a set of seqs: a bit each, so that what everybody saw fits into memory.
type bits []uint64

func (b *bits) has(s chat.Seq) bool {
	i := s / 64
	return i < chat.Seq(len(*b)) && (*b)[i]&(1<<(s%64)) != 0
}

func (b *bits) add(s chat.Seq) {
	i := int(s / 64)
	if i >= len(*b) {
		grown := make(bits, max(i+1, 2*len(*b)))
		copy(grown, *b)
		*b = grown
	}
	(*b)[i] |= 1 << (s % 64)
}
