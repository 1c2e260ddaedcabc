// Package fanout delivers: it reads one partition's log and cursor changes in order, finds who is to
// receive each record and at which edges they are, and sends one numbered hop per edge with the list of
// recipients, the frame encoded once.
//
// In: committed entries (Handle), cursor changes (HandleCursors), registrations of the edges' users
// (Register), questions for what was lost (Replay). Out: wire.Hop messages through a Transport, which may
// lose them.
//
// Audience. Who receives a record is decided from the conversation's state, asked of the partition's owner
// once and then kept by folding the records that pass. A state that is ahead of the record is used as it
// is: a member must be one now and must have been one at the record, so a removal wins, and nobody receives
// what was sent outside their membership. Whoever a record removes receives that record and nothing after it.
//
// Numbering. On each lane (log, cursors) a hop names the number of the delivery before it to the same edge;
// a worker's Term is above those of the workers before it. An idle lane is repeated every second with an
// empty hop, so that an edge sees a loss. Log deliveries carry their stream sequence. A cursor change takes
// two numbers, 2s-1 for delivered and 2s for read, s being its sequence in the cursor bucket; that lane
// belongs to no generation (0).
//
// Joining. Register answers with a position: every record above it is delivered live to those users at that
// edge, and everything up to it that concerns the edge has been handed to the transport. It waits until the
// worker has handled what was durable at the call, so a sync reads its own writes. The answer also names the
// conversations whose membership of the users changed above the roster's position.
//
// Replay. A bounded ring holds the latest deliveries with their recipients. What a replay finds deleted
// later is sent without its text, and not to who has been removed since. Beyond the ring the answer is an
// error and the edge tells its clients to resync. Registrations get nothing older than themselves.
//
// Receipts. A cursor change reaches the user's own connections, and in a direct conversation the peer.
// Authors in groups are not told yet. Only the part that moved is sent; a change whose former value is not
// known any more may repeat one.
//
// Failures. An owner that does not answer makes Handle fail and the batch is handed again; nothing of it was
// sent. An owner that does not know a record's conversation is a verdict on that record (Poison). A hop that
// the transport refuses is counted and lost: the edge's numbering finds out. Every bound is in Limits.
package fanout
