// Package conversation is the heart of parley: the state of one conversation, its commands and its
// rules, as pure functions.
//
// Decide checks a command against the state at the head and gives the record to commit, or the refusal.
// Apply folds a record into a state. Neither does I/O nor reads a clock. The sequencer is the I/O shell
// of this package; persist, roster, fan-out, the client and the checker fold the same records with Apply.
package conversation
