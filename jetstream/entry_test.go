package jetstream

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"pgregory.net/rapid"

	"github.com/parley-chat/parley/pkg/chat"
)

func TestEntriesComeBackFromTheLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := chat.Entry{
			Record: chat.Record{
				ConversationID: conversationID(rapid.IntRange(0, 1000).Draw(t, "conversation")),
				Seq:            chat.Seq(rapid.Uint64Range(1, chat.MaxSeq-1).Draw(t, "seq")),
				N:              rapid.Uint64().Draw(t, "n"),
				ID:             chat.ID(rapid.Uint64Range(chat.MaxSeq, 1<<63).Draw(t, "id")),
				Kind:           chat.KindMessage, SenderID: userID(rapid.IntRange(0, 50).Draw(t, "sender")),
				Type: chat.MessageText, Text: rapid.String().Draw(t, "text"),
			},
			Bucket: chat.Bucket(rapid.Uint32().Draw(t, "bucket")), Term: rapid.Uint64().Draw(t, "term"),
			Trace: rapid.SampledFrom([]string{"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}).Draw(t, "trace"), Generation: 3, StreamSeq: 9,
		}
		if rapid.Bool().Draw(t, "client") {
			e.ClientID = chat.NewClientID(time.UnixMilli(1_800_000_000_000))
			copy(e.BodyHash[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "hash"))
		}
		e.Raw = e.AppendJSON(nil)
		m := EncodeEntry(Token{3, 0}, &e)
		got, err := DecodeEntry(m.Subject, m.Header, m.Data, 3, 9)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(e, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestFencesBelongToNoConversation(t *testing.T) {
	m := FenceMsg(Token{3, 1}, 77)
	e, err := DecodeEntry(m.Subject, m.Header, m.Data, 3, 12)
	if err != nil || e.Kind != chat.KindFence || e.Term != 77 || e.ConversationID != "" || e.StreamSeq != 12 || TermOf(m.Header) != 77 {
		t.Errorf("%+v, %v", e, err)
	}
}

// What headers and record tell differently must not be stored under either.
func TestEntriesThatContradictThemselves(t *testing.T) {
	w := &world{token: Token{1, 0}, seqs: newSeqs()}
	good := w.message(conversationID(0), "hello")
	for name, spoil := range map[string]func(*nats.Msg){
		"seq":           func(m *nats.Msg) { m.Header.Set(HeaderSeq, "2") },
		"id":            func(m *nats.Msg) { m.Header.Set(HeaderID, "5") },
		"n":             func(m *nats.Msg) { m.Header.Set(HeaderN, "x") },
		"no seq":        func(m *nats.Msg) { m.Header.Del(HeaderSeq) },
		"kind":          func(m *nats.Msg) { m.Header.Set(HeaderKind, "edit") },
		"fence":         func(m *nats.Msg) { m.Header.Set(HeaderKind, "fence") },
		"sender":        func(m *nats.Msg) { m.Header.Set(HeaderSender, string(userID(2))) },
		"bad sender":    func(m *nats.Msg) { m.Header.Set(HeaderSender, "root") },
		"client":        func(m *nats.Msg) { m.Header.Del(HeaderClientID) },
		"bad client":    func(m *nats.Msg) { m.Header.Set(HeaderClientID, "1") },
		"hash":          func(m *nats.Msg) { m.Header.Set(HeaderHash, "abcd") },
		"bucket":        func(m *nats.Msg) { m.Header.Set(HeaderBucket, "4294967296") },
		"conversation":  func(m *nats.Msg) { m.Subject = RecordSubject(Token{1, 0}, conversationID(1)) },
		"no subject":    func(m *nats.Msg) { m.Subject = "parley.log.g1p0.general" },
		"not JSON":      func(m *nats.Msg) { m.Data = m.Data[:len(m.Data)-1] },
		"invalid UTF-8": func(m *nats.Msg) { m.Data = bytes.Replace(m.Data, []byte("hello"), []byte("\xff"), 1) },
	} {
		m := EncodeEntry(w.token, good)
		m.Data = bytes.Clone(m.Data)
		spoil(m)
		e, err := DecodeEntry(m.Subject, m.Header, m.Data, 1, 4)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if strings.HasPrefix(name, "not JSON") && (e.Seq != good.Seq || e.ID != good.ID || e.ConversationID != good.ConversationID || e.Kind != good.Kind) {
			t.Errorf("%s: the place is lost: %+v", name, e)
		}
	}
}

func FuzzEntry(f *testing.F) {
	w := &world{token: Token{1, 0}, seqs: newSeqs()}
	m := EncodeEntry(w.token, w.message(conversationID(0), "hello"))
	add := func(m *nats.Msg) {
		f.Add(m.Subject, m.Header.Get(HeaderKind), m.Header.Get(HeaderID), m.Header.Get(HeaderSeq), m.Header.Get(HeaderN),
			m.Header.Get(HeaderSender), m.Header.Get(HeaderClientID), m.Header.Get(HeaderBucket), m.Header.Get(HeaderHash), m.Header.Get(HeaderTerm), m.Data)
	}
	add(m)
	add(FenceMsg(w.token, 1))
	add(&nats.Msg{Subject: m.Subject, Header: nats.Header{}})
	f.Fuzz(func(t *testing.T, subject, kind, id, seq, n, sender, client, bucket, hash, term string, data []byte) {
		h := nats.Header{
			HeaderKind: {kind}, HeaderID: {id}, HeaderSeq: {seq}, HeaderN: {n}, HeaderSender: {sender},
			HeaderClientID: {client}, HeaderBucket: {bucket}, HeaderHash: {hash}, HeaderTerm: {term},
		}
		e, err := DecodeEntry(subject, h, data, 1, 2)
		if err != nil || e.Kind == chat.KindFence {
			return
		}
		again := EncodeEntry(Token{1, 0}, &e)
		back, err := DecodeEntry(again.Subject, again.Header, again.Data, 1, 2)
		if err != nil {
			t.Fatalf("accepted once, refused the second time: %v", err)
		}
		if d := cmp.Diff(e, back); d != "" {
			t.Fatal(d)
		}
	})
}
