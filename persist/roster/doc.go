// Package roster projects the log into the directory: which conversations there are, what they are called,
// and who is a member, for lists and search.
//
// In: a partition's entries in order, by the consumer loop (Worker), or the store's states when a directory
// is new, lost or left behind by a trimmed log (Rebuild). Out: directory.Project. Rows follow from each
// record alone and their order does not matter to the directory, so a batch handed again changes nothing.
//
// The position is written with every batch that changes rows; without any at most each half second or
// thousand entries, so it may lag behind what was handled. Starting from it again is safe. No decision
// about membership is made from the projection.
//
// Failures: a directory that does not answer is an error of the batch, which the loop repeats. A record that
// alone can not be projected is poison: the loop keeps it as a dead letter, Quarantine passes over it, and
// the projection misses that one change, which is counted.
package roster
