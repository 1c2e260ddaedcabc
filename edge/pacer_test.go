package edge

import (
	"fmt"
	"testing"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// A busy crowd is written to in steps: everything arrives, in order, in fewer writes than frames.
func TestACrowdIsWrittenToInSteps(t *testing.T) { onEachForm(t, aCrowdIsWrittenToInSteps) }

func aCrowdIsWrittenToInSteps(t *testing.T, newWorld maker) {
	w := newWorld(t)
	people := []chat.UserID{w.person("owner")}
	for i := range crowdSize + 8 {
		people = append(people, w.person(fmt.Sprint("member ", i)))
	}
	g := w.group(people...)
	phones := make([]*phone, 0, len(people))
	for _, u := range people[1:] {
		d := w.login(t, u)
		d.synced(d.send(wire.TypeSync, wire.Sync{}))
		phones = append(phones, d)
	}
	const messages = 50
	frames, writes := w.counted("frames_written_total"), w.counted("writes_total")
	for i := range messages {
		w.say(g, people[0], fmt.Sprint("message ", i))
		w.flush()
	}
	for _, d := range phones {
		for i := range messages {
			r := into[chat.Record](t, d.want(wire.TypeMessageReceived))
			if r.Seq != chat.Seq(2+i) {
				t.Fatalf("seq %d in place %d", r.Seq, i)
			}
		}
	}
	frames, writes = w.counted("frames_written_total")-frames, w.counted("writes_total")-writes
	if frames < float64(messages*len(phones)) || writes > frames/2 {
		t.Errorf("%v frames in %v writes", frames, writes)
	}
}
