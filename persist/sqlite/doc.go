// Package sqlite is the embedded message store: persist.Store in one SQLite file.
//
// In: batches of one partition's entries. Out: rows of records, state, client ids and cursors, written
// with the position in one transaction, so that after a crash the file holds a prefix of the log.
//
// Records stand in one b-tree whose key is conversation key << 36 | seq. Ids rise with seq inside a
// conversation, so an id or a time is found by binary search over the same tree. An index finds a client
// id: these begin with their time, so new ones stand together whatever their conversation. A row's JSON
// leaves out the head that its other columns say again (pack). Users are interned: rows name them by a
// small number. Heads and the rows of members have integer keys of their own and little else that moves.
//
// One connection writes, one transaction at a time; a pool of others reads snapshots and never waits for
// it. What the writer caches (conversation and user keys, heads) is bounded, and thrown away whenever a
// transaction does not commit.
//
// Failures: an error that holds chat.Unavailable means that the file can not be read or written now (full
// disk, I/O error, lock, damage); its cause is wrapped. Any other error is a fault of the entry that was
// to be written. A file of another program, or of a newer version, is refused when it is opened.
package sqlite
