package wire_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

func nested(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

func TestInboundFramesAreStrict(t *testing.T) {
	send := func(text string) string {
		return `{"id":7,"type":"message:send","data":{"text":"` + text + `"}}`
	}
	for name, c := range map[string]struct {
		frame string
		want  chat.Kind
		id    uint64 // told to the sender also when the frame is refused
	}{
		"plain":                   {send("hi"), "", 7},
		"unknown names":           {`{"id":7,"type":"x","data":{},"later":[1,{"a":null}]}`, "", 7},
		"surrogate pair":          {send(`\ud83d\ude00`), "", 7},
		"brackets in text":        {send(strings.Repeat("[{", 100)), "", 7},
		"escaped quote":           {send(`\"` + strings.Repeat("[", 100)), "", 7},
		"deepest":                 {`{"id":7,"type":"x","data":` + nested(wire.MaxDepth-1) + `}`, "", 7},
		"invalid UTF-8":           {send("\xff"), chat.InvalidText, 7},
		"surrogate in UTF-8":      {send("\xed\xa0\x80"), chat.InvalidText, 7},
		"overlong":                {send("\xc0\x80"), chat.InvalidText, 7},
		"lone high surrogate":     {send(`\ud83d`), chat.InvalidText, 7},
		"lone low surrogate":      {send(`\ude00`), chat.InvalidText, 7},
		"surrogates swapped":      {send(`\ude00\ud83d`), chat.InvalidText, 7},
		"id after the fault":      {`{"type":"x","data":"\ud83d","id":7}`, chat.InvalidText, 7},
		"bad text in a name":      {`{"id":7,"type":"x","data":{"\ud83d":1}}`, chat.InvalidText, 7},
		"bad text elsewhere":      {`{"id":7,"type":"x","more":"` + "\xff" + `"}`, chat.InvalidText, 7},
		"too deep":                {`{"id":7,"type":"x","data":` + nested(wire.MaxDepth) + `}`, chat.Invalid, 7},
		"far too deep":            {`{"id":7,"type":"x","data":` + nested(100_000) + `}`, chat.Invalid, 7},
		"only openings":           {strings.Repeat("[", 1_000_000), chat.Invalid, 0},
		"repeated name":           {`{"id":7,"type":"x","data":{"a":1,"a":2}}`, chat.Invalid, 7},
		"repeated escaped":        {`{"id":7,"type":"x","data":{"a":1,"\u0061":2}}`, chat.Invalid, 7},
		"repeated type":           {`{"id":7,"type":"x","type":"y"}`, chat.Invalid, 7},
		"no type":                 {`{"id":7}`, chat.Invalid, 7},
		"other case":              {`{"id":7,"Type":"x"}`, chat.Invalid, 7},
		"null":                    {`null`, chat.Invalid, 0},
		"array":                   {`[]`, chat.Invalid, 0},
		"empty":                   {``, chat.Invalid, 0},
		"two values":              {`{"type":"x"}{}`, chat.Invalid, 0},
		"trailing comma":          {`{"id":7,"type":"x",}`, chat.Invalid, 7},
		"id negative":             {`{"id":-7,"type":"x"}`, chat.Invalid, 0},
		"id fraction":             {`{"id":7.5,"type":"x"}`, chat.Invalid, 0},
		"id text":                 {`{"id":"7","type":"x"}`, chat.Invalid, 0},
		"control character":       {send("\n"), chat.Invalid, 7},
		"unknown escape":          {send(`\x41`), chat.Invalid, 7},
		"text and form":           {`{"id":7,"type":"x","data":"` + "\xff" + `",}`, chat.Invalid, 7},
		"cut off in a character":  {`{"id":7,"type":"x","data":"` + "\xf0\x9f", chat.Invalid, 7},
		"larger than a frame":     {send(strings.Repeat("x", wire.MaxFrame)), chat.TooLarge, 0},
		"NaN":                     {`{"id":7,"type":"x","data":NaN}`, chat.Invalid, 7},
		"byte order mark":         {"\ufeff" + `{"type":"x"}`, chat.Invalid, 0},
		"comment":                 {`{"type":"x"} // hello`, chat.Invalid, 0},
		"white space around":      {" \n{\"id\":7,\"type\":\"x\"}\r\n", "", 7},
		"data is not looked into": {`{"id":7,"type":"x","data":"anything"}`, "", 7},
	} {
		f, err := wire.DecodeFrame([]byte(c.frame))
		if kind := chat.KindOf(err); kind != c.want {
			t.Errorf("%s: %q (%v), want %q", name, kind, err, c.want)
		}
		if f.ID != c.id && c.id != 0 {
			t.Errorf("%s: id %d, want %d", name, f.ID, c.id)
		}
	}
}

func TestDataIsStrict(t *testing.T) {
	for name, c := range map[string]struct {
		data string
		want chat.Kind
		text string
	}{
		"plain":         {`{"conversation_id":"g","text":"hi \u00e9","later":1}`, "", "hi é"},
		"absent":        {``, "", ""},
		"null":          {`null`, "", ""},
		"text a number": {`{"text":5}`, chat.Invalid, ""},
		"negative seq":  {`{"text":"hi","reply_to":-1}`, chat.Invalid, ""},
		"array":         {`[]`, chat.Invalid, ""},
		"lone":          {`{"text":"\udead"}`, chat.InvalidText, ""},
		"repeated":      {`{"text":"a","text":"b"}`, chat.Invalid, ""},
		"too deep":      {`{"text":"a","x":` + nested(wire.MaxDepth) + `}`, chat.Invalid, ""},
	} {
		got, err := wire.DecodeData[wire.MessageSend](wire.Frame{Data: jsontext.Value(c.data)})
		if kind := chat.KindOf(err); kind != c.want || got.Text != c.text {
			t.Errorf("%s: %q %v, want %q %q", name, got.Text, err, c.text, c.want)
		}
	}
	_, err := wire.DecodeData[wire.CursorUp](wire.Frame{Data: jsontext.Value(`{"id":"12x"}`)})
	if err == nil || !strings.Contains(err.Error(), "12x") {
		t.Errorf("a malformed id is not named: %v", err)
	}
}

func TestDecodedDataIsACopy(t *testing.T) {
	b := []byte(`{"type":"x","data":{"text":"hi"}}`)
	f, err := wire.DecodeFrame(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if string(f.Data) != `{"text":"hi"}` {
		t.Errorf("data is now %q", f.Data)
	}
}

func TestFramesAreWrittenAsTheyAreRead(t *testing.T) {
	raw := jsontext.Value(`{"text":"\u0008\n` + "\u2028" + `","x":"é<&>"}`)
	frame, err := wire.EncodeFrame(9, wire.TypeSyncRecords, wire.SyncRecords{Records: []jsontext.Value{raw}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(frame), `"records":[`+string(raw)+`]`) {
		t.Errorf("the record's bytes changed: %s", frame)
	}
	f, err := wire.DecodeFrame(frame)
	if err != nil || f.ID != 9 || f.Type != wire.TypeSyncRecords {
		t.Fatalf("%+v %v", f, err)
	}
	for want, got := range map[string]func() ([]byte, error){
		`{"type":"caught_up","data":{}}`: func() ([]byte, error) { return wire.EncodeFrame(0, wire.TypeCaughtUp, struct{}{}) },
		`{"id":1,"type":"pong"}`:         func() ([]byte, error) { return wire.EncodeFrame(1, wire.TypePong, nil) },
		`before{"type":"record:received","data":7}`: func() ([]byte, error) {
			return wire.AppendRaw([]byte("before"), wire.TypeRecordReceived, []byte("7")), nil
		},
	} {
		b, err := got()
		if err != nil || string(b) != want {
			t.Errorf("%s, want %s (%v)", b, want, err)
		}
	}
	if _, err := wire.EncodeFrame(1, "x", map[string]any{"f": func() {}}); err == nil {
		t.Error("a function was encoded")
	}
}

func TestRecordsAreReadStrictly(t *testing.T) {
	good := `{"conversation_id":"gaaaaaaaaaaaaaaaaaaaaaaaaaa","seq":1,"n":1,"id":"77","kind":"message","sender_id":"u","text":"x","later":{"a":[1]}}`
	r, err := wire.DecodeRecord([]byte(good))
	if err != nil || r.ID != 77 || r.Text != "x" {
		t.Fatalf("%+v %v", r, err)
	}
	for name, change := range map[string][2]string{
		"lone surrogate":   {`"text":"x"`, `"text":"\udead"`},
		"invalid UTF-8":    {`"text":"x"`, "\"text\":\"\xff\""},
		"repeated name":    {`"text":"x"`, `"text":"x","text":"y"`},
		"repeated inside":  {`{"a":[1]}`, `{"a":1,"a":2}`},
		"id as a number":   {`"id":"77"`, `"id":77`},
		"seq as text":      {`"seq":1`, `"seq":"1"`},
		"malformed client": {`"n":1`, `"n":1,"client_id":"x"`},
		"trailing":         {`}}`, `}}}`},
	} {
		if _, err := wire.DecodeRecord([]byte(strings.Replace(good, change[0], change[1], 1))); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestPreferencesAreReadStrictly(t *testing.T) {
	good := `{"conversation_id":"saaaaaaaaaaaaaaaaaaaaaaaaaa","seq":2,"n":0,"id":"77","kind":"preference","sender_id":"u","about":"gaaaaaaaaaaaaaaaaaaaaaaaaaa","muted_until":"forever","pinned":false,"later":1}`
	r, err := wire.DecodeRecord([]byte(good))
	if err != nil || r.About != "gaaaaaaaaaaaaaaaaaaaaaaaaaa" || *r.MutedUntil != chat.MutedForever || r.Archived != nil || *r.Pinned {
		t.Fatalf("%+v %v", r, err)
	}
	for name, change := range map[string][2]string{
		"no conversation":        {`"about":"gaaaaaaaaaaaaaaaaaaaaaaaaaa",`, ``},
		"malformed conversation": {`"about":"gaaaaaaaaaaaaaaaaaaaaaaaaaa"`, `"about":"g*"`},
		"conversation as number": {`"about":"gaaaaaaaaaaaaaaaaaaaaaaaaaa"`, `"about":7`},
		"no time":                {`"forever"`, `"tomorrow"`},
		"time as number":         {`"forever"`, `1`},
		"flag as text":           {`"pinned":false`, `"pinned":"false"`},
	} {
		if _, err := wire.DecodeRecord([]byte(strings.Replace(good, change[0], change[1], 1))); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	for name, change := range map[string][2]string{
		"another kind":          {`"preference"`, `"reminder"`},
		"a field of later days": {`"muted_until":"forever","pinned":false`, `"colour":"red"`},
		"the end of a mute":     {`"forever"`, `""`},
	} {
		text := strings.Replace(good, change[0], change[1], 1)
		if name == "another kind" {
			text = strings.Replace(text, `"forever"`, `"tomorrow"`, 1)
		}
		if _, err := wire.DecodeRecord([]byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorsShowTheTable(t *testing.T) {
	for _, k := range chat.Kinds() {
		got := wire.ErrorOf(chat.Errorf(k, "why"))
		if diff := cmp.Diff(wire.Error{Code: k, Message: "why", Retryable: k.Rule().Retryable}, got); diff != "" {
			t.Error(diff)
		}
	}
}

func BenchmarkDecodeSend(b *testing.B) {
	frame := []byte(`{"id":7,"type":"message:send","data":{"conversation_id":"gaaaaaaaaaaaaaaaaaaaaaaaaaa","client_id":"0190b6c0-1111-7111-8111-111111111111","type":"text","text":"` + strings.Repeat("hello ", 50) + `"}}`)
	b.SetBytes(int64(len(frame)))
	for b.Loop() {
		f, err := wire.DecodeFrame(frame)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := wire.DecodeData[wire.MessageSend](f); err != nil {
			b.Fatal(err)
		}
	}
}
