// Package socket is one authenticated WebSocket connection of the protocol parley.v1, and nothing above it:
// whole frames in, whole frames out, close codes as typed errors.
//
// In: the server's address and an access token (or a single-use ticket). Out: frames, as the server wrote them.
// Guarantees: Dial returns only after auth:ok; Write hands all frames it is given to the kernel in one write;
// liveness is checked both ways, so Read fails within two heartbeats and a little of a silent death.
// Failures: Read and Write fail for good with the first error; a refusal by the server is a *CloseError, whose
// Reconnect method says what the code means. The connection starts no goroutine. One goroutine may read while
// another writes; pkg/client builds its reader and writer on that, a load generator may do with less.
package socket
