// Package persist stores what the log says: it reads a partition in order and writes records, heads,
// members, client ids and own cursors through one store contract, and serves history from it.
//
// In: entries of LOG_<p>, gated by the durable watermark. Out: rows, and a position that is sealed once
// the store has surely synced it. Every write is idempotent, so a redelivered batch changes nothing.
package persist
