// Package archtest holds the architecture: who may import whom, how long a function and a file may be,
// and that the paths named in the documents exist. It has tests only.
package archtest
