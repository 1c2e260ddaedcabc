package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/client/socket"
	"github.com/parley-chat/parley/pkg/wire"
)

func TestLatenciesOfAllShardsAreSummed(t *testing.T) {
	l := newLatencies()
	for i := range 1000 {
		l.add(i, time.Duration(i+1)*time.Millisecond)
	}
	l.add(3, time.Hour) // counts as the longest
	s := summarize(l.merged())
	near := func(got, want float64) bool { return got > want*0.99 && got < want*1.01 }
	if s.Count != 1001 || !near(s.P50, 501) || !near(s.P99, 991) || !near(s.Max, 60_000) {
		t.Errorf("summary %+v", s)
	}
	for i := 1; i < len(s.Curve); i++ {
		if s.Curve[i].Millis < s.Curve[i-1].Millis || s.Curve[i].Percentile <= s.Curve[i-1].Percentile {
			t.Fatalf("the curve falls at %+v", s.Curve[i])
		}
	}
}

func TestMeterCountsTheMeasuredTimeOnly(t *testing.T) {
	begin := time.Unix(1000, 0)
	m := newMeter(begin, 3*time.Second)
	for _, at := range []time.Duration{-time.Second, 0, 999 * time.Millisecond, time.Second, 2900 * time.Millisecond, time.Hour} {
		m.add(begin.Add(at), 1)
	}
	if got := m.series(); len(got) != 3 || got[0] != 2 || got[1] != 1 || got[2] != 1 || m.total.Load() != 4 {
		t.Errorf("series %v, total %d", got, m.total.Load())
	}
}

func TestPreparedFramesAreWhatTheProtocolWants(t *testing.T) {
	p := &post{f: &fast{size: 300}, conn: &socket.Conn{}, conversation: "gaaaaaaaaaaaaaaaaaaaaaaaaaa"}
	p.prepare()
	seen := map[string]bool{}
	for range 3 {
		start := time.Now()
		f, err := wire.DecodeFrame(p.fill(start))
		if err != nil {
			t.Fatal(err)
		}
		m, err := wire.DecodeData[wire.MessageSend](f)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := chat.ParseClientID(m.ClientID); err != nil || seen[m.ClientID] {
			t.Errorf("client id %s: %v", m.ClientID, err)
		}
		seen[m.ClientID] = true
		if f.Type != wire.TypeMessageSend || m.Type != chat.MessageText || m.ConversationID != string(p.conversation) || len(m.Text) != 300 {
			t.Errorf("frame %+v, %+v", f, m)
		}
		if f.ID != firstID+p.number {
			t.Errorf("frame id %d, number %d", f.ID, p.number)
		}
		r := chat.Record{Kind: chat.KindMessage, Seq: 7, Type: m.Type, Text: m.Text}
		received := wire.AppendRaw(nil, wire.TypeMessageReceived, r.AppendJSON(nil))
		if typeOf(received) != wire.TypeMessageReceived || number(received, `"seq":`) != 7 || int64(number(received, `"text":"`)) != start.UnixNano() {
			t.Errorf("%s is read as %s, seq %d, stamp %d", received, typeOf(received), number(received, `"seq":`), number(received, `"text":"`))
		}
	}
	c, err := wire.DecodeFrame(cursorFrame(wire.TypeMessageRead, p.conversation, 9))
	if err != nil || c.Type != wire.TypeMessageRead || !strings.Contains(string(c.Data), `"seq":9`) {
		t.Errorf("cursor frame %+v, %v", c, err)
	}
	if got := typeOf([]byte(`{"data":{"x":"` + strings.Repeat("y", 100) + `"},"type":"goaway"}`)); got != wire.TypeGoAway {
		t.Errorf("a frame in another order is read as %q", got)
	}
}

func someResult() *Result {
	l := newLatencies()
	for i := range 1000 {
		l.add(i, time.Duration(i+1)*time.Millisecond)
	}
	s := summarize(l.merged())
	return &Result{
		Shape: "5 pairs", Loop: "closed", Size: 300, Seconds: 3, Acked: 1000, Delivered: 1000, Expected: 1000, ServerCPU: 1, PerMillion: 1000,
		Ack: s, Receive: s, AckedSeries: []int64{300, 300, 400}, Received: []int64{300, 300, 400},
	}
}

func TestResultIsTableJSONAndPlot(t *testing.T) {
	folder := t.TempDir()
	c := runConfig{json: filepath.Join(folder, "r.json"), plot: filepath.Join(folder, "r.svg")}
	var out bytes.Buffer
	if err := c.tell(someResult(), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"5 pairs, closed loop", "p99.9", "send to receive", "1000.0 s per million"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	raw, err := os.ReadFile(c.json)
	if err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(raw, &back); err != nil || back.Acked != 1000 || len(back.Ack.Curve) == 0 {
		t.Errorf("figures %+v, %v", back, err)
	}
	svg, err := os.ReadFile(c.plot)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the plot is no SVG: %v", err)
		}
	}
}

func TestRunRefusesWhatMakesNoSense(t *testing.T) {
	for _, args := range [][]string{{"run"}, {"run", "--groups", "1", "--members", "1"}, {"run", "--pairs", "1", "--rate", "-1"}, {"replay", "--speed", "-1", "x"}} {
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(io.Discard)
		root.SetErr(io.Discard)
		if err := root.ExecuteContext(t.Context()); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
}

func TestCheckTellsByItsExit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.jsonl")
	run := func(history string) (string, error) {
		if err := os.WriteFile(path, []byte(history), 0o600); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		root := newRoot()
		root.SetArgs([]string{"check", path})
		root.SetOut(&out)
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}
	fine := `{"t":1,"op":"register","client":"ua/1","username":"a","code":"ok"}` + "\n"
	if out, err := run(fine); err != nil || !strings.Contains(out, "0 violations") {
		t.Errorf("%v:\n%s", err, out)
	}
	if out, err := run(fine + strings.Replace(fine, "ua/1", "ub/1", 1)); !errors.Is(err, errBroken) || !strings.Contains(out, "I14") {
		t.Errorf("%v:\n%s", err, out)
	}
}
