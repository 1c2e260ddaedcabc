// Package sequencer is the one writer of a partition: the I/O shell of pkg/conversation.
//
// In: commands (Submit, or parley.cmd.<p>.* for other processes) and questions (Ask). Out: records in the
// partition's log, answers to the senders, and the durable watermark.
//
// One owner goroutine holds all state. It puts commands into their conversation's queue, has look-ups done
// by a bounded pool that never holds up other conversations, decides what waits in fair turns and hands
// groups of at most 500 records or 1 MiB, one at a time, to the committer. A group is committed when the
// broker has given each record exactly the sequence that was expected and the barrier has made it durable;
// then, in this order, the committed state moves, the watermark moves, and the senders are answered.
//
// Guarantees: an outcome that Submit returned is durable and stands once in the log; seq is dense and ids
// rise strictly, whatever the clock does; a client id gives its first outcome for the life of the record;
// Ask answers from committed state, which is never behind the watermark.
//
// Failures: a store that does not answer refuses the commands that need it (unavailable), others go on. An
// outcome of the broker that is unknown runs the takeover routine (a new term, a fence of one record more
// than a group can hold, a barrier, a re-read); meanwhile senders wait, and who gives up hears
// unknown_outcome, or unavailable when the command had surely not been sent. A higher term in the log or a
// failed barrier ends Run with an error; nothing of the group in flight is then acknowledged.
package sequencer
