// Package chat is parley's vocabulary: ids, positions, records and kinds of error.
//
// Everything that travels between roles is spelled with these types. The package imports the
// standard library alone and does no I/O; parsing is the only way from outside text to an id, so
// that an id in hand is always one that may reach a subject or a statement.
package chat
