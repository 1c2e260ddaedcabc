// Package wire holds parley's frames: what travels over a WebSocket (subprotocol parley.v1), the record
// decoder that everybody shares, and the numbered hop between fan-out and edges.
//
// Inbound JSON is strict: invalid UTF-8, lone surrogates, repeated names and deep nesting are refused
// before anything is stored. Unknown fields pass; unknown frame types are an error of their own.
package wire
