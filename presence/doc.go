// Package presence keeps how far people have come: the hot cursors of every user in every conversation,
// and the way from there into the message store.
//
// In: a person's new cursors (Cursors.Advance), changes read back from the hot buckets (Drainer.Handle).
// Out: merged cursors, and rows in the store.
//
// Guarantees. A cursor only moves forward: every merge takes the maximum, of each of the two cursors by
// itself, and what is read counts as delivered. Advance answers after a durability barrier, also when
// nothing moved: the value that stood already may be another call's that still waits for its own. Readers
// take the maximum of bucket and store. They read the bucket first: what is drained and trimmed meanwhile
// stands in the store by then. Own sends and the start of a membership are the caller's to add.
//
// Failures. Without the bucket or the store nothing is answered (chat.Unavailable, as they say it): half of
// the truth could move a cursor back in somebody's eyes. A failed barrier is the same; the process that owns
// it ends. The Drainer fails as a whole and its batch is handed again; writing it twice changes nothing.
//
// Registry, status, last seen and typing are not here yet.
package presence
