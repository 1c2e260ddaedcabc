// Package sqlite is the embedded message store: persist.Store in one SQLite file.
//
// In: batches of one partition's entries. Out: rows of records, state, client ids and cursors, written
// with the position in one transaction, so that after a crash the file holds a prefix of the log.
//
// Records stand in one b-tree whose key is conversation key << 36 | seq. Ids rise with seq inside a
// conversation, so an id or a time is found by binary search over the same tree. Users are interned:
// a record and a client id name them by a small number.
//
// One connection writes, one transaction at a time; a pool of others reads snapshots and never waits for
// it. What the writer caches (conversation and user keys, heads) is bounded, and thrown away whenever a
// transaction does not commit.
//
// Failures: an error that holds chat.Unavailable means that the file can not be read or written now (full
// disk, I/O error, lock, damage); its cause is wrapped. Any other error is a fault of the entry that was
// to be written. A file of another program, or of a newer version, is refused when it is opened.
package sqlite
