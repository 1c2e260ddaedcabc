package sqlite

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/parley-chat/parley/persist/persisttest"
	"github.com/parley-chat/parley/pkg/chat"
)

// storedHead is what files hold without their heads: the bytes may never change.
const storedHead = `{"conversation_id":"gaaaaaaaaaaaaaaaaaaaaaaaafa","seq":7,"n":6,"id":"4194304","kind":"message",` +
	`"sender_id":"uaaaaaaaaaaaaaaaaaaaaaaaaba","client_id":"019ca945-0a00-7000-8000-000000000003","sent_at":"2025-01-01T00:00:00.001Z"`

func headed() chat.Record {
	return chat.Record{
		ConversationID: persisttest.Group(5), Seq: 7, N: 6, ID: 1 << 22, Kind: chat.KindMessage, SenderID: persisttest.User(1),
		ClientID: persisttest.Client(persisttest.Epoch, 3),
	}
}

func TestAHeadOfAnOldFileIsPutBack(t *testing.T) {
	r := headed()
	if got := string(unpack(&r, []byte(`,"text":"a"}`))); got != storedHead+`,"text":"a"}` {
		t.Errorf("unpacked %s\nwant     %s", got, storedHead+`,"text":"a"}`)
	}
}

func TestJSONIsKeptByteForByte(t *testing.T) {
	tests := map[string]struct {
		raw    string
		packed bool
	}{
		"as the log has it":  {storedHead + `,"type":"text","text":"a"}`, true},
		"nothing but a head": {storedHead + `}`, true},
		"a space inside":     {`{ ` + storedHead[1:] + `}`, false},
		"a space before":     {` ` + storedHead + `}`, false},
		"a space after":      {storedHead + ` }`, false},
		"another order":      {`{"seq":7,"text":"a"}`, false},
		"an empty object":    {`{}`, false},
		"no object":          {`null`, false},
	}
	for name, test := range tests {
		r := headed()
		kept, _ := pack(nil, &r, []byte(test.raw))
		if packed := len(kept) < len(test.raw); packed != test.packed {
			t.Errorf("%s: packed %v, want %v", name, packed, test.packed)
		}
		if got := unpack(&r, kept); !bytes.Equal(got, []byte(test.raw)) {
			t.Errorf("%s: %s came back as %s", name, test.raw, got)
		}
	}
}

func TestRecordsWithForeignFieldsOrNoClientIDAreReadAsTheyWere(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "messages.db"))
	defer func() { _ = s.Close() }()
	l := persisttest.NewLog()
	l.Create(persisttest.Group(0), persisttest.User(1))
	for range 3 {
		l.Send(persisttest.Group(0), persisttest.User(1), "text")
	}
	foreign, bare, spaced := &l.Entries[1], &l.Entries[2], &l.Entries[3]
	foreign.Raw = append(bytes.TrimSuffix(foreign.Raw, []byte("}")), `,"mood":"new"}`...)
	bare.ClientID = chat.ClientID{}
	bare.Raw = bare.AppendJSON(nil)
	spaced.Raw = append([]byte("\n "), spaced.Raw...)
	if err := s.Write(t.Context(), 0, l.Batch(0, len(l.Entries))); err != nil {
		t.Fatal(err)
	}
	rows, err := s.Range(t.Context(), persisttest.Group(0), 1, 10, 10, false)
	if err != nil || len(rows) != len(l.Entries) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, row := range rows {
		if !bytes.Equal(row.Raw, l.Entries[i].Raw) {
			t.Errorf("row %d: %s, want %s", i, row.Raw, l.Entries[i].Raw)
		}
	}
	if _, ok, err := s.Prior(t.Context(), persisttest.Group(0), persisttest.User(1), chat.ClientID{}); ok || err != nil {
		t.Errorf("a record without client id answers for one: %v, %v", ok, err)
	}
}
