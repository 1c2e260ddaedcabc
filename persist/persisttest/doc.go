// Package persisttest is the conformance suite of persist.Store: what every implementation must do, method
// by method, and a model that random logs are compared with.
//
// Log makes logs as a sequencer would, for this suite and for tests of what reads stores.
package persisttest
