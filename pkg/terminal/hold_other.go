//go:build !unix

package terminal

// holdFile holds nothing where there are no such locks.
func holdFile(string) (release func(), err error) { return func() {}, nil }
