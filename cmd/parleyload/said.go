package main

import (
	"errors"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/checker"
)

// said is the server's own verdict inside err; false when the request has no known outcome.
func said(err error) (chat.Kind, bool) {
	e, ok := errors.AsType[*chat.Error](err)
	if !ok {
		return "", false
	}
	return e.Kind, true
}

// codeOf is how the history calls an outcome: a failure whose effect nobody knows is unknown, never a refusal.
func codeOf(err error) string {
	if err == nil {
		return checker.OK
	}
	kind, ok := said(err)
	if !ok || kind == chat.Internal || kind == chat.UnknownOutcome || kind == chat.Unavailable {
		return checker.Unknown
	}
	return string(kind)
}
