// Package directorytest is the behaviour that every directory.Store must show, as a suite of tests: names
// given once, rotation of refresh tokens, a projection that bears any order and repetition.
//
// In: a function that makes an empty store. Out: subtests. Times are compared to the millisecond.
package directorytest
