// Package jetstream is the only place that knows NATS: every subject, stream, consumer and bucket by
// name, the embedded server, the durability barrier, ownership leases, generations, the one consumer
// loop, the log reader and the trimmer. The writer of a partition is jetstream/sequencer.
//
// In: messages of the log (EncodeEntry, FenceMsg), cursors, revoked sessions. Out: entries, in order, to
// handlers (Loop), by place (LogReader.Get) and by span (LogReader.Scan).
//
// Guarantees. A Loop hands over every stream sequence from its start on, in order, at least once; what it
// can not hand over it reports (ErrHole, ErrTrimmed, ErrLogShort, ErrRecord) and never skips, except for
// consumers without a position of their own, whose missed records are counted. A reader gives the records
// that were asked for or an error. Lease terms rise for ever. The trimmer removes nothing that one of its
// floors has not passed. Ensure creates and reports, and alters nothing.
//
// Leases are for liveness only; what keeps two writers apart is the fence (jetstream/sequencer).
//
// Failures. The broker being away is chat.Unavailable from calls, and is waited out by everything that
// runs. A failed Barrier is final. A store on disk that can not be read fails StartServer.
//
// Order at start: StartServer, InitMeta, Ensure, a barrier (what was made is durable only then),
// CheckReady, the sequencers, the loops. Loops use connections of their own: a connection serves its
// direct reads in its own loop, so readers would hold up the writer.
package jetstream
