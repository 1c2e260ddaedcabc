// Package jetstream is the only place that knows NATS: every subject, stream, consumer and bucket by
// name, the embedded server, the durability barrier, ownership leases, generations, the one consumer
// loop, the log reader and the trimmer. The writer of a partition is jetstream/sequencer.
package jetstream
