package edge

import (
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/wire"
)

func jsonOf(v any) ([]byte, error) { return json.Marshal(v, json.Deterministic(true)) }

// FuzzFrame: whatever a client sends as a command becomes a well-formed command or a refusal with a code;
// what becomes one survives the way to the log and back byte for byte.
func FuzzFrame(f *testing.F) {
	const g = "gaaaaaaaaaaaaaaaaaaaaaaaaaa"
	f.Add([]byte(`{"id":1,"type":"message:send","data":{"conversation_id":"` + g + `","client_id":"0190163d-8694-7a3c-9f2e-5b7d8c6a4e1f","type":"text","text":"hi \u0000 \ud83d\ude00"}}`))
	f.Add([]byte(`{"id":2,"type":"message:edit","data":{"conversation_id":"` + g + `","seq":4,"client_id":"0190163d-8694-7a3c-9f2e-5b7d8c6a4e1f","text":"x"}}`))
	f.Add([]byte(`{"id":3,"type":"message:delete","data":{"conversation_id":"` + g + `","seq":4,"client_id":"0190163d-8694-7a3c-9f2e-5b7d8c6a4e1f"}}`))
	f.Add([]byte(`{"id":4,"type":"message:read","data":{"conversation_id":"` + g + `","id":"9007199254740993"}}`))
	f.Add([]byte(`{"id":5,"type":"sync","data":{"conversations":{"` + g + `":18446744073709551615},"limit":100}}`))
	f.Add([]byte(`{"id":6,"type":"presence:subscribe","data":{"conversation_ids":["` + g + `","` + g + `"]}}`))
	f.Add([]byte(`{"type":"x","data":"\ud800"}`))
	e := &Edge{config: Config{KeyBodies: []byte("k")}}
	if err := e.config.complete(Deps{}); err == nil {
		f.Fatal("an edge without dependencies was accepted")
	}
	e.config.Now = chat.ID(1 << 60).Time
	c := newConnection(e)
	c.claims.Store(&claimsForFuzz)
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, err := wire.DecodeFrame(b)
		if err != nil {
			known(t, err)
			return
		}
		switch fr.Type {
		case wire.TypeMessageRead, wire.TypeMessageDelivered:
			if _, _, err := cursorOf(fr); err != nil {
				known(t, err)
			}
			return
		case wire.TypePresenceSub:
			ids, err := watchedOf(fr)
			if err != nil {
				known(t, err)
			}
			if len(ids) > wire.MaxWatched {
				t.Errorf("%d conversations looked at", len(ids))
			}
			return
		case wire.TypeSync:
			data, err := wire.DecodeData[wire.Sync](fr)
			if err == nil {
				_, err = c.newSync(fr.ID, data)
			}
			if err != nil {
				known(t, err)
			}
			return
		}
		cmd, err := c.commandOf(fr)
		if err != nil {
			known(t, err)
			return
		}
		if err := conversation.Check(cmd); err != nil {
			t.Errorf("an unchecked command: %v", err)
		}
		r := chat.Record{Kind: chat.KindMessage, Text: cmd.Text, ClientID: cmd.ClientID, SenderID: cmd.Actor}
		raw := r.AppendJSON(nil)
		if back, err := wire.DecodeRecord(raw); err != nil || back.Text != cmd.Text {
			t.Errorf("text %q came back as %q, %v", cmd.Text, back.Text, err)
		}
		if !jsontext.Value(raw).IsValid() {
			t.Errorf("the record is no JSON: %s", raw)
		}
	})
}

func known(t *testing.T, err error) {
	t.Helper()
	if chat.KindOf(err) == chat.Internal {
		t.Errorf("refused without a code: %v", err)
	}
}
