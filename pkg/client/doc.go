// Package client is the Go SDK of parley: people, conversations and history by REST (API), and a live
// connection that survives everything short of a refusal (Client).
//
// In: an address and a login. Out: typed events, each record of a conversation once and in order.
//
// Guarantees of Client:
//   - A message keeps its client id for life and is sent again until it is answered, in the order of the calls
//     within its conversation: one is under way per conversation, so no failure can reorder.
//   - Records are shown by seq: what was shown is never shown again, what is missing is fetched (from the
//     socket's sync, or from history below a sync's gap) before anything later is shown.
//   - The Store holds, per conversation, the highest seq up to which everything was handed to OnEvent; it moves
//     after OnEvent returned, so a process that dies shows an event again rather than never.
//   - Client ids carry the server's time, not this machine's.
//
// Failures: close codes 4000 to 4499 end Run with a *StoppedError (4001 after one try with a new token); every
// other end of a connection leads to the next one, with the server's hints and full jitter. Refusals of a
// message are final and reported; unavailable, unknown_outcome, rate_limited and prior_failed are not. The
// outbox, the queue of events and what waits for a missing record are bounded.
//
// Run owns every goroutine: one reader and one writer per connection, and one that calls OnEvent.
package client
