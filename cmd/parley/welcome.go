package main

import (
	"fmt"
	"io"
	"strings"
)

// welcome is what a person reads once everything runs: where it is, what it keeps, and what to type next.
type welcome struct {
	api, admin string
	data       string
	durability string
	limitsOff  bool
}

func (w welcome) print(out io.Writer) {
	var text strings.Builder
	fmt.Fprintf(&text, "\nparley is running at %s\n\n", w.api)
	fmt.Fprintf(&text, "  chat       %s\n", w.api)
	fmt.Fprintf(&text, "  REST       %s/api/v1        WebSocket  ws%s/api/v1/ws\n", w.api, strings.TrimPrefix(w.api, "http"))
	if w.admin != "" {
		fmt.Fprintf(&text, "  operators  %s/readyz, /metrics, /debug/pprof/\n", w.admin)
	}
	fmt.Fprintf(&text, "  data       %s (everything; a backup needs installation.key too)\n", w.data)
	fmt.Fprintf(&text, "  durable    %s\n", w.durability)
	if w.limitsOff {
		text.WriteString("\n  WARNING: rate limits are OFF (--limits off). That is for load tests, never for people.\n")
	}
	fmt.Fprintf(&text, firstSteps, w.api)
	text.WriteString("\nStop with Ctrl-C. `parley serve --help` lists the settings.\n\n")
	_, _ = io.WriteString(out, text.String()) // for people: nothing depends on it
}

const firstSteps = `
First steps, in another terminal:

  API=%s/api/v1
  json() { sed -n 's/.*"'$1'":"\([^"]*\)".*/\1/p' | head -n 1; }

  # two people
  ALICE=$(curl -s $API/auth/register -H 'content-type: application/json' \
    -d '{"username":"alice","email":"alice@example.org","password":"alice has a horse"}' | json access_token)
  BOB=$(curl -s $API/auth/register -H 'content-type: application/json' \
    -d '{"username":"bob","email":"bob@example.org","password":"bob has a battery"}' | json access_token)
  BOB_ID=$(curl -s $API/users/me -H "authorization: Bearer $BOB" | grep -o 'u[a-z2-7]\{26\}' | head -n 1)

  # a conversation, a message, and the history as Bob reads it
  CHAT=$(curl -s $API/conversations -H "authorization: Bearer $ALICE" -H 'content-type: application/json' \
    -d '{"type":"direct","user_id":"'$BOB_ID'"}' | grep -o 'd[a-z2-7]\{26\}' | head -n 1)
  curl -s $API/conversations/$CHAT/messages -H "authorization: Bearer $ALICE" -H 'content-type: application/json' \
    -d '{"type":"text","text":"Hello, Bob"}'
  curl -s $API/conversations/$CHAT/messages -H "authorization: Bearer $BOB"
`
