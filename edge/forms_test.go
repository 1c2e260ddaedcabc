package edge

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestAFrameThatDoesNotGoOnEndsItsConnectionAndNobodyElses(t *testing.T) {
	onEachForm(t, aFrameThatDoesNotGoOnEndsItsConnectionAndNobodyElses)
}

func aFrameThatDoesNotGoOnEndsItsConnectionAndNobodyElses(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t, func(c *Config) { c.Workers = 2 })
	alice := w.person("alice")
	text := masked(opText, []byte(pingFrame))
	large := masked(opText, bytes.Repeat([]byte("x"), 4*smallFrame))
	var stalled []*wiretap
	for _, begun := range [][]byte{
		text[:1], text[:2], text[:5], text[:6], text[:len(text)-1],
		join(text, text[:3]),
		masked(0x01, []byte("a")),
		join(masked(0x01, []byte("a")), masked(opPing, nil)),
		large[:3], large[:smallFrame/2], large[:2*smallFrame],
	} {
		d := w.tap(t, alice)
		d.write(begun)
		stalled = append(stalled, d)
	}
	w.login(t, alice).quiet() // more are stalled than there are workers
	for _, d := range stalled {
		d.ends(wire.CloseIdle)
	}
	w.over() // waits until the connections have been counted
	if got := w.counted("stalled_frames_total", ""); got != float64(len(stalled)) {
		t.Errorf("%v of %d counted as stalled", got, len(stalled))
	}
}

func TestWhatKeepsArrivingMayTakeLong(t *testing.T) {
	frame := masked(opText, bytes.Repeat([]byte("x"), wire.MaxFrame))
	for name, c := range map[string]struct {
		rate int // bytes a second
		late bool
	}{"faster than the least rate": {frameRate * 5 / 4, false}, "slower": {frameRate / 2, true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s scanner
				var a arrival
				late := false
				for rest := frame; len(rest) > 0 && !late; {
					now := rest[:min(c.rate, len(rest))]
					rest = rest[len(now):]
					for at := 0; at < len(now); {
						_, n, _, err := s.next(now[at:])
						if err != nil {
							t.Fatal(err)
						}
						at += n
					}
					a.note(&s, len(now))
					time.Sleep(time.Second)
					late = a.late(time.Now())
				}
				if late != c.late {
					t.Errorf("late: %v", late)
				}
			})
		})
	}
}

func TestWhatFollowsAuthInOneWriteWaitsForIt(t *testing.T) {
	onEachForm(t, whatFollowsAuthInOneWriteWaitsForIt)
}

func whatFollowsAuthInOneWriteWaitsForIt(t *testing.T, newWorld maker) {
	w := newWorld(t)
	alice := w.person("alice")
	d := w.tap(t, "")
	frames := masked(opText, []byte(`{"id":1,"type":"auth","data":{"token":"`+w.token(alice)+`"}}`))
	for id := 2; id < 40; id++ {
		frames = append(frames, masked(opText, fmt.Appendf(nil, `{"id":%d,"type":"ping"}`, id))...)
	}
	d.write(frames)
	if _, b := d.frame(); !bytes.Contains(b, []byte(wire.TypeAuthOK)) {
		t.Fatalf("got %s", b)
	}
	for id := 2; id < 40; id++ {
		d.pong(id)
	}
}

func TestAnAnswerLargerThanTheSocketsBuffersArrivesWhole(t *testing.T) {
	onEachForm(t, anAnswerLargerThanTheSocketsBuffersArrivesWhole)
}

func anAnswerLargerThanTheSocketsBuffersArrivesWhole(t *testing.T, newWorld maker) {
	t.Parallel()
	w := newWorld(t)
	alice := w.person("alice")
	const groups, each = 40, 10
	for range groups {
		g := w.group(alice)
		for range each {
			w.say(g, alice, strings.Repeat("x", 90_000))
		}
	}
	d := w.login(t, alice)
	id := d.send(wire.TypeSync, wire.Sync{})
	d.send(wire.TypePing, nil) // its answer does not wait for the sync's
	parts := map[chat.ConversationID]bool{}
	for {
		f, err := d.next()
		if err != nil {
			t.Fatalf("after %d parts: %v", len(parts), err)
		}
		if f.Type == wire.TypeCaughtUp && f.ID == id {
			break
		}
		if f.Type != wire.TypeSyncRecords {
			continue
		}
		part := into[wire.SyncRecords](t, f)
		if len(part.Records) != each+1 {
			t.Errorf("%d records", len(part.Records))
		}
		parts[part.ConversationID] = true
	}
	if len(parts) != groups {
		t.Errorf("%d of %d parts", len(parts), groups)
	}
}

func TestIdleConnectionsHaveNoGoroutine(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // plain connections have
	}
	w := newWorld(t, func(c *Config) { c.Sockets = SocketsDense })
	alice := w.person("alice")
	w.login(t, alice).quiet()
	before := runtime.NumGoroutine()
	for range 200 {
		d := w.login(t, alice)
		d.synced(d.send(wire.TypeSync, wire.Sync{}))
	}
	if after := runtime.NumGoroutine(); after > before+20 { // those of the last logins
		t.Errorf("%d goroutines before, %d after", before, after)
	}
}

func TestAStopLeavesNothingOfIdleConnections(t *testing.T) {
	onEachForm(t, aStopLeavesNothingOfIdleConnections)
}

func aStopLeavesNothingOfIdleConnections(t *testing.T, newWorld maker) {
	before := descriptors(t)
	w := newWorld(t)
	alice := w.person("alice")
	phones := make([]*phone, 1000)
	for i := range phones {
		phones[i] = w.login(t, alice)
	}
	drained := make(chan struct{})
	go func() { defer close(drained); w.edge.Drain(t.Context()) }()
	for _, d := range phones {
		d.closed(wire.CloseDrain)
		_ = d.ws.Close()
	}
	<-drained
	w.over()
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	if w.edge.handshakes.Load() != 0 || w.edge.seats.Load() != 0 || len(w.edge.all) != 0 {
		t.Errorf("%d half-open, %d seats, %d connections are left", w.edge.handshakes.Load(), w.edge.seats.Load(), len(w.edge.all))
	}
}

// descriptors is how many this process has open; 0 where the system does not tell.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(list)
}
