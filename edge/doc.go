// Package edge is the front door: REST and WebSocket, sessions, sync, delivery to connections, drain.
//
// In: requests and frames of clients, decoded strictly; hops of the fan-out workers (Deliver); the news of
// revoked sessions. Out: commands to the partitions' owners, and frames to clients.
//
// Guarantees:
//   - A connection has one unanswered send per conversation; the rest wait in it, and a send that fails fails
//     those that wait behind it (prior_failed), so a device's sends keep their order. Each is answered within
//     wire.AnswerWithin.
//   - A connection is registered with every partition's worker before auth:ok, so what is committed after the
//     answer to a sync comes live, and what the sync covered is not repeated.
//   - The sending connection has message:sent and not message:received; the sender's other connections do.
//   - Messages of a connection are handled one at a time and in order; reading waits for nothing but auth (the
//     workers' registration) and, above 64 KiB, room in the budget.
//   - Hops are numbered per partition and lane. A gap or another term holds the lane until the worker replayed
//     the range; when it can not, every connection is told to resync.
//
// Bounds, each counted when reached: connections that have not authenticated (Config.Handshakes), bytes of
// inbound frames above 64 KiB in the process, 256 sends and 2 MiB waiting per connection, 64 KiB outbound behind
// the frame being written (overflow closes 4501), 1 MiB of live frames held during a sync and 20,000
// deliveries or 32 MiB held for a replay (overflow is told as resync).
//
// Failures: without news of revocations for 5 s every connection closes with 4502 and none opens. A part that
// does not answer gives unavailable; a commit whose answer did not come gives unknown_outcome, never failure.
//
// A connection has one of two forms (conn.go), which behave alike. Dense, where the system has epoll: one poller
// for all, bounded pools that read (Config.Workers) and write (one per CPU), and nothing of its own while idle, no
// goroutine, timer or buffer. Plain: gorilla and two goroutines. A frame once begun has to go on arriving (5 s and
// 16 KiB/s), an outgoing one to be taken within 30 s; both are found by the sweep, once a second, as are silence,
// a missing auth and a close that is not answered.
//
// Goroutines: one polls, one sweeps; per plain connection one reads and one writes; and while there is work one
// per connection that authenticates, per conversation with a send under way, one for a sync and one for cursors.
// Run waits for all of them.
package edge
