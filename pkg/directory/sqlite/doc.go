// Package sqlite keeps the directory in one SQLite file: users, sessions, and the projection of
// conversations.
//
// In: the calls of directory.Store. Out: rows in directory.db (WAL, synchronous FULL: what a call returned
// from survives a power cut; secure_delete: what is overwritten is gone from the file). One connection
// writes, each change in a transaction of its own, so that a username is given once, however many ask for
// it at the same moment; a pool of others reads.
//
// Failures: a full disk, a locked or unreadable file and a call cut short by its context are
// chat.Unavailable, with the cause wrapped for the log; a damaged file is an internal error. A file of
// another program, or of a newer version, is refused at Open and left as it was.
//
// The statements are constant and keep to what PostgreSQL understands too ($n, ON CONFLICT, text ids,
// milliseconds as integers); only the schema is SQLite's own.
package sqlite
