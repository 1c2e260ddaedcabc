// Package terminal is the chat client for terminals.
//
// In: the keys of one person and the events of the Go SDK. Out: a screen of text, and calls of the SDK.
//
// Model is the client without a terminal and without a network: Update takes one message, View draws. What it
// wants done goes through Backend; what takes time comes back as a message. Remote is the Backend that speaks to
// a server, Run puts both behind a real terminal.
//
// Guarantees: text that people wrote reaches the terminal through clean alone, so that no name or message moves
// the cursor, colours or renames anything. A message is marked as read only once it was on the screen of a
// focused terminal. What is held per conversation is bounded (mostItems); older messages come from history again.
//
// Failures: without a connection everything that is known stays readable, sends wait in the SDK's outbox, and the
// header says so. A refused message stays with its reason and can be sent again. A login that has ended is said.
package terminal
