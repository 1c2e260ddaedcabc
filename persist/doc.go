// Package persist stores what the log says: it reads a partition in order and writes records, heads,
// members, client ids and own cursors through one store contract, and serves history from it.
//
// In: entries of LOG_<p>, gated by the durable watermark. Out: rows, and a position that is sealed once
// the store has surely synced it. Every write is idempotent, so a redelivered batch changes nothing.
//
// Worker is the writing half, one per partition. It tells poison (one entry that can never be stored)
// from an outage (everything waits and is handed again); a placeholder then keeps the seq dense, but never
// for a record that changes members, settings or preferences: the partition stands still there and raises an alarm.
//
// History is the reading half. An answer of the partition's owner fixes the head and names what the store
// may not have yet; that is taken from the log, with its edits and deletes applied to what the store has.
// A range is returned whole or not at all. Nothing outside of what the reader may see is returned, edits
// included; text that the store or the tail knows as deleted is not returned either.
package persist
