// Command parleyload drives a parley server as its clients do: it measures (run), replays real conversations
// (replay), and judges what clients saw (check). It knows nothing of the server but its protocol.
package main
