// Package presence keeps who is online and how far people have come.
//
// Who is online. An edge's Registrar writes its connections into a registry in memory and keeps one lease for
// all of them; a Shard, the owner of a part of the people, follows the registry and announces changes to the
// edges that look. In: connections that come and go, interests. Out: announcements (wire.Announcement), last
// seen for the directory.
//
// Guarantees. Of announcements and answers about one person the one with the highest term and version is the
// newest, in whatever order they arrive. A person is told offline 10 s after the last connection ended and
// within 45 s of a killed edge, and never while reconnecting within the grace, through a restart of the owner
// or of everything. What is lost or shed is made good at the edge's next renewal, 10 s later at most.
//
// Failures. Without an owner nothing is known and nothing told; without the registry changes are told later.
// Without the directory last seen waits, bounded.
//
// How far people have come: the hot cursors of every user in every conversation, and the way from there into
// the message store.
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
package presence
