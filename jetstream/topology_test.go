package jetstream

import (
	"strings"
	"testing"
	"time"

	natsjs "github.com/nats-io/nats.go/jetstream"

	"github.com/parley-chat/parley/pkg/chat"
)

func newSeqs() map[chat.ConversationID]chat.Head { return map[chat.ConversationID]chat.Head{} }

func TestEnsureTwiceChangesNothing(t *testing.T) {
	w := newWorld(t)
	topo := Topology{Generation: 1, Partitions: 3, LogMaxBytes: 1 << 30, RevocationLife: 20 * time.Minute}
	if drift, err := Ensure(w.ctx, w.nc, topo); err != nil || len(drift) != 1 {
		t.Fatalf("further partitions and another life of revocations: drift %v, error %v", drift, err)
	}
	topo.RevocationLife = 0
	w.ensure(topo)
	w.ensure(topo)
	if err := CheckReady(w.ctx, w.nc, topo); err != nil {
		t.Error(err)
	}
	s, err := w.js.Stream(w.ctx, LogStream(Token{1, 2}))
	if err != nil {
		t.Fatal(err)
	}
	if c := s.CachedInfo().Config; !c.AllowAtomicPublish || !c.AllowDirect || !c.DenyDelete || c.Discard != natsjs.DiscardNew || c.MaxAge != 0 ||
		c.MaxBytes != 1<<30 || c.Storage != natsjs.FileStorage || c.MaxMsgSize != 2<<20 {
		t.Errorf("the log is made as %+v", c)
	}
}

func TestEnsureReportsDriftAndAltersNothing(t *testing.T) {
	w := newWorld(t)
	other := w.topo
	other.LogMaxBytes = 2 << 30
	other.RevocationLife = time.Hour
	consumer, err := w.js.Consumer(w.ctx, LogStream(w.token), ConsumerPersist)
	if err != nil {
		t.Fatal(err)
	}
	config := consumer.CachedInfo().Config
	config.MaxDeliver = 3
	if _, err := w.js.UpdateConsumer(w.ctx, LogStream(w.token), config); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		drift, err := Ensure(w.ctx, w.nc, other)
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Join(drift, "\n")
		for _, want := range []string{"LOG_g1p0: max_bytes is 1073741824, want 2147483648", "KV_PARLEY_REVOKED: max_age is 15m0s, want 1h0m0s", "consumer persist of LOG_g1p0: max_deliver is 3, want -1"} {
			if !strings.Contains(all, want) {
				t.Errorf("no %q in\n%s", want, all)
			}
		}
		if len(drift) != 3 {
			t.Errorf("%d differences:\n%s", len(drift), all)
		}
	}
}

func TestAMissingConsumerIsNotReady(t *testing.T) {
	w := newWorld(t)
	if err := w.js.DeleteConsumer(w.ctx, LogStream(w.token), ConsumerRoster); err != nil {
		t.Fatal(err)
	}
	if err := CheckReady(w.ctx, w.nc, w.topo); err == nil || !strings.Contains(err.Error(), ConsumerRoster) {
		t.Errorf("got %v", err)
	}
	w.ensure(w.topo)
	if err := CheckReady(w.ctx, w.nc, w.topo); err != nil {
		t.Error(err)
	}
}

func TestAFullLogRefuses(t *testing.T) {
	w := newWorld(t)
	small := Topology{Generation: 2, Partitions: 1, LogMaxBytes: 64 << 10}
	w.ensure(small)
	w.token = Token{2, 0}
	id := conversationID(0)
	text := strings.Repeat("x", 8<<10)
	var refused error
	stored := 0
	for range 20 {
		if _, err := w.js.PublishMsg(w.ctx, EncodeEntry(w.token, w.message(id, text))); err != nil {
			refused = err
			break
		}
		stored++
	}
	if refused == nil {
		t.Fatal("a full log took everything")
	}
	s, err := streamState(w.ctx, w.nc, LogStream(w.token))
	if err != nil || s.Messages != uint64(stored) || s.First != 1 {
		t.Errorf("%d were acknowledged, the log holds %+v (%v)", stored, s, err)
	}
}

func TestTokensAndStreamNames(t *testing.T) {
	for _, token := range []Token{{1, 0}, {12, 255}, {4294967295, 7}} {
		if got, ok := parseLogStream(LogStream(token)); !ok || got != token {
			t.Errorf("%v gives %v", token, got)
		}
	}
	for _, name := range []string{"", "LOG_", "LOG_g1", "LOG_gp1", "LOG_g01p1", "LOG_g1p-1", "LOG_g1p1x", "KV_PARLEY_META", "LOG_g99999999999p1"} {
		if got, ok := parseLogStream(name); ok {
			t.Errorf("%q gives %v", name, got)
		}
	}
}

func FuzzSubject(f *testing.F) {
	id := conversationID(1)
	for _, s := range []string{
		"", ".", "parley.log.g1p0.fence", RecordSubject(Token{1, 0}, id), CommandSubject(3, id), "parley.log.g1p0." + string(id) + ".x",
		"parley.log.g1p0.>", "parley.log.g1p0.*", string(id), "parley.log.g1p0.u" + string(id)[1:], "parley.log. ." + strings.ToUpper(string(id)),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		got, ok := ConversationOf(subject)
		if !ok {
			return
		}
		if !strings.HasSuffix(subject, string(got)) || strings.ContainsAny(string(got), ".*> \r\n\x00") {
			t.Errorf("%q gives %q", subject, got)
		}
		back := RecordSubject(Token{1, 0}, got)
		if again, ok := ConversationOf(back); !ok || again != got {
			t.Errorf("%q does not come back from %q", got, back)
		}
	})
}
