package fanout

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// receiptSignals lists "who kind seq > recipients" of the receipts that came as signals, sorted.
func receiptSignals(t *testing.T, hops []wire.Hop) []string {
	t.Helper()
	lines := signals(t, hops, func(f wire.Frame, to string) (string, error) {
		down, err := wire.DecodeData[wire.CursorDown](f)
		return fmt.Sprintf("%s %s %d > %s", nameOf(down.UserID), strings.TrimPrefix(f.Type, "message:"), down.Seq, to), err
	})
	slices.Sort(lines)
	return lines
}

func TestGroupReceiptsGoToTheAuthorsOfWhatWasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := running(t)
		g := groupID("g")
		b.register(t, "e1", "ann", "bob", "cyd", "eve")
		b.handle(t, b.create(g, "ann", "bob", "cyd", "eve"), b.say(g, "ann", "2"), b.say(g, "bob", "3"), b.say(g, "ann", "4"))
		step := func(what string, want ...string) {
			t.Helper()
			if got := receiptSignals(t, b.wires.take("e1")); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		b.wires.take("e1")
		b.move(t, cursorOf(1, g, "cyd", 2, 3))
		time.Sleep(signalSweep)
		synctest.Wait()
		step("read one, has another", "cyd delivered 3 > bob", "cyd read 2 > ann")
		b.move(t, cursorOf(2, g, "cyd", 3, 3))
		b.move(t, cursorOf(3, g, "cyd", 4, 4), cursorOf(4, g, "bob", 4, 4))
		time.Sleep(signalSweep)
		synctest.Wait()
		step("within the second nothing more")
		time.Sleep(receiptsEvery)
		synctest.Wait()
		step("then what has gathered, the last of each", "bob read 4 > ann", "cyd read 4 > ann bob")
		b.move(t, cursorOf(5, g, "ann", 4, 4))
		time.Sleep(2 * receiptsEvery)
		synctest.Wait()
		step("not for one's own", "ann read 4 > bob")
		b.handle(t, b.say(g, "ann", "5"), b.member(g, chat.ActionRemoved, "eve"))
		b.move(t, cursorOf(6, g, "eve", 5, 5))
		time.Sleep(2 * receiptsEvery)
		synctest.Wait()
		step("nobody hears of who was removed")
		b.handle(t, b.member(g, chat.ActionRemoved, "ann"))
		b.move(t, cursorOf(7, g, "bob", 5, 5))
		time.Sleep(2 * receiptsEvery)
		synctest.Wait()
		step("nor does who was removed hear")
	})
}

func TestReceiptsOfALargeGroupAreNotPushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := running(t)
		g := groupID("large")
		names := []string{"ann"}
		for i := range receiptMembers {
			names = append(names, fmt.Sprint(i))
		}
		b.register(t, "e1", "ann")
		b.handle(t, b.create(g, names...), b.say(g, "ann", "2"))
		b.move(t, cursorOf(1, g, "1", 2, 2))
		time.Sleep(2 * receiptsEvery)
		synctest.Wait()
		if got := receiptSignals(t, b.wires.take("e1")); got != nil {
			t.Errorf("%d members: %q", len(names), got)
		}
		if len(b.grouped.waiting) != 0 {
			t.Errorf("%d groups wait", len(b.grouped.waiting))
		}
	})
}
