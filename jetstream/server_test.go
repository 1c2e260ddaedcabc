package jetstream

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
)

func TestARestartKeepsTheLog(t *testing.T) {
	w := newWorld(t)
	w.fill(1200, 7)
	w.restart()
	if got := w.last(); got != 1200 {
		t.Errorf("last sequence %d after the restart, want 1200", got)
	}
	w.ensure(w.topo) // no drift, nothing missing
	if err := CheckReady(w.ctx, w.nc, w.topo); err != nil {
		t.Error(err)
	}
}

func TestAStreamThatCanNotBeReadIsAnError(t *testing.T) {
	w := newWorld(t)
	w.fill(10, 1)
	w.stop()
	meta := filepath.Join(w.folder, "nats", "jetstream", "$G", "streams", LogStream(w.token), "meta.inf")
	if err := os.WriteFile(meta, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := StartServer(w.ctx, ServerConfig{Folder: w.folder, Log: quiet()})
	if err == nil {
		s.Stop()
		t.Fatal("the server went on without the log")
	}
	if !strings.Contains(err.Error(), LogStream(w.token)) {
		t.Errorf("the error does not name the stream: %v", err)
	}
}

func TestAFolderThatCanNotBeUsedIsAnError(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "nats"), []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := StartServer(testContext(t), ServerConfig{Folder: folder, Log: quiet()}); err == nil {
		s.Stop()
		t.Error("want an error")
	}
	folder = t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "nats"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "nats", "jetstream"), []byte("a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := StartServer(testContext(t), ServerConfig{Folder: folder, Log: quiet()}); err == nil {
		s.Stop()
		t.Error("want an error")
	}
}

func TestAPortThatIsTakenIsAnError(t *testing.T) {
	first, err := StartServer(testContext(t), ServerConfig{Folder: t.TempDir(), Listen: "127.0.0.1:0", Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Stop()
	if s, err := StartServer(testContext(t), ServerConfig{Folder: t.TempDir(), Listen: first.Address(), Log: quiet()}); err == nil {
		s.Stop()
		t.Error("want an error")
	}
}

// A service reads the log with a consumer of its own; it writes nothing and touches no consumer of ours.
func TestWhatAServiceMayDo(t *testing.T) {
	ctx := testContext(t)
	s, err := StartServer(ctx, ServerConfig{Folder: t.TempDir(), Listen: "127.0.0.1:0", SyncAlways: true, Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	w := &world{t: t, ctx: ctx, server: s, token: Token{1, 0}, seqs: newSeqs(), topo: Topology{Generation: 1, Partitions: 1, LogMaxBytes: 1 << 30}}
	w.nc = w.connect(s)
	w.js, _ = natsjs.New(w.nc)
	w.ensure(w.topo)
	w.fill(3, 1)

	nc, err := nats.Connect("nats://"+s.Address(), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, _ := natsjs.New(nc, natsjs.WithDefaultTimeout(300*time.Millisecond))
	c, err := js.CreateConsumer(ctx, LogStream(w.token), natsjs.ConsumerConfig{Durable: "moderation", AckPolicy: natsjs.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := m.DoubleAck(ctx); err != nil {
		t.Errorf("a service can not acknowledge: %v", err)
	}
	for _, subject := range []string{
		FenceSubject(w.token), RecordSubject(w.token, conversationID(0)), bucketSubject(BucketLeases, "x"), CommandSubject(0, conversationID(0)),
		"$JS.API.STREAM.PURGE." + LogStream(w.token), "$JS.API.STREAM.DELETE." + LogStream(w.token),
		"$JS.API.CONSUMER.DELETE." + LogStream(w.token) + "." + ConsumerPersist,
		"$JS.API.CONSUMER.RESET." + LogStream(w.token) + "." + ConsumerPersist,
		"$JS.API.CONSUMER.MSG.NEXT." + LogStream(w.token) + "." + ConsumerPersist,
		"$JS.API.CONSUMER.DURABLE.CREATE." + LogStream(w.token) + "." + ConsumerPersist,
		"$JS.API.CONSUMER.CREATE." + LogStream(w.token) + "." + ConsumerPersist,
		SignalSubject(0, conversationID(0)), PresenceSubject(0), EdgeSubject("e1"), bucketSubject(BucketEdges, "e1"),
		"$JS.API.CONSUMER.CREATE.KV_" + PresenceBucket(0) + ".x." + bucketSubject(PresenceBucket(0), ">"),
		"$JS.API.CONSUMER.DURABLE.CREATE.KV_" + PresenceBucket(0) + ".x",
		"$JS.API.DIRECT.GET.KV_" + PresenceBucket(0) + "." + bucketSubject(PresenceBucket(0), "x"), "$JS.API.STREAM.MSG.GET.KV_" + BucketEdges,
	} {
		if m, err := nc.Request(subject, nil, 100*time.Millisecond); err == nil {
			t.Errorf("a service may ask %s: %s", subject, m.Data)
		}
	}
	if got := w.last(); got != 3 {
		t.Errorf("a service wrote to the log: last sequence %d", got)
	}
	if err := CheckReady(ctx, w.nc, w.topo); err != nil {
		t.Error(err)
	}
}
