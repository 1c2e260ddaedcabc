package jetstream

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/pkg/chat"
)

// requestWithin bounds one request to the broker when the caller's context has no earlier end.
const requestWithin = 5 * time.Second

// Error codes of the JetStream API that are told apart.
const (
	codeStreamNotFound    = 10059
	codeNoMessage         = 10037
	codeWrongLastSequence = 10071
	codeWrongLastSubject  = 10164
)

var (
	errNoMessage = errors.New("no message")
	errNoStream  = errors.New("no such stream")
)

// apiError is the broker's refusal.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

func (e *apiError) is() error {
	switch e.ErrCode {
	case codeNoMessage:
		return errNoMessage
	case codeStreamNotFound:
		return errNoStream
	}
	if e.Code >= 500 {
		return unavailable(e)
	}
	return e
}

// unavailable marks an error of the broker or of the way to it as one that passes.
func unavailable(err error) error {
	return fmt.Errorf("%w: %w", chat.Errorf(chat.Unavailable, "the log does not answer"), err)
}

// request asks the API and decodes the answer into out; a refusal is an error.
func request(ctx context.Context, nc *nats.Conn, subject string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("request %s: %w", subject, err)
		}
	}
	m, err := nc.RequestWithContext(ctx, subject, body)
	if err != nil {
		return fmt.Errorf("request %s: %w", subject, unavailable(err))
	}
	var refused struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &refused, jsontext.AllowDuplicateNames(true)); err != nil {
		return fmt.Errorf("request %s: answer: %w", subject, err)
	}
	if refused.Error != nil {
		return fmt.Errorf("request %s: %w", subject, refused.Error.is())
	}
	if err := json.Unmarshal(m.Data, out, jsontext.AllowDuplicateNames(true)); err != nil {
		return fmt.Errorf("request %s: answer: %w", subject, err)
	}
	return nil
}

// state is what a stream's leader says of it.
type state struct {
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes"`
	First    uint64    `json:"first_seq"`
	Last     uint64    `json:"last_seq"`
	LastTime time.Time `json:"last_ts"`
}

// streamState asks the stream's leader.
func streamState(ctx context.Context, nc *nats.Conn, stream string) (state, error) {
	var answer struct {
		State state `json:"state"`
	}
	err := request(ctx, nc, "$JS.API.STREAM.INFO."+stream, nil, &answer)
	return answer.State, err
}

// getRequest is the request of STREAM.MSG.GET and DIRECT.GET.
type getRequest struct {
	Seq       uint64     `json:"seq,omitzero"`
	LastFor   string     `json:"last_by_subj,omitzero"`
	NextFor   string     `json:"next_by_subj,omitzero"`
	Batch     int        `json:"batch,omitzero"`
	MaxBytes  int        `json:"max_bytes,omitzero"`
	StartTime *time.Time `json:"start_time,omitzero"`
	MultiLast []string   `json:"multi_last,omitzero"`
}

// stored is one message as a stream holds it.
type stored struct {
	Subject string
	Seq     uint64
	Time    time.Time
	Header  nats.Header
	Data    []byte
}

// leaderGet reads one message from the stream's leader: the only read that is never stale.
func leaderGet(ctx context.Context, nc *nats.Conn, stream string, r getRequest) (stored, error) {
	var answer struct {
		Message struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  string    `json:"hdrs"`
			Data    string    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := request(ctx, nc, "$JS.API.STREAM.MSG.GET."+stream, r, &answer); err != nil {
		return stored{}, err
	}
	m := answer.Message
	header, err := base64.StdEncoding.DecodeString(m.Header)
	if err != nil {
		return stored{}, fmt.Errorf("get from %s: headers: %w", stream, err)
	}
	data, err := base64.StdEncoding.DecodeString(m.Data)
	if err != nil {
		return stored{}, fmt.Errorf("get from %s: data: %w", stream, err)
	}
	s := stored{Subject: m.Subject, Seq: m.Seq, Time: m.Time, Data: data}
	if len(header) > 0 {
		if s.Header, err = nats.DecodeHeadersMsg(header); err != nil {
			return stored{}, fmt.Errorf("get from %s: headers: %w", stream, err)
		}
	}
	return s, nil
}

// directGet sends one batch request to any replica and hands each message to f until the batch ends.
// It returns nil too when the replica holds nothing there; f sees what came.
func directGet(ctx context.Context, nc *nats.Conn, stream string, r getRequest, f func(stored) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("direct get %s: %w", stream, err)
	}
	inbox := nc.NewInbox()
	// Room for all that can come and its end mark; a sync subscription would have room for 65,536.
	answers := make(chan *nats.Msg, max(len(r.MultiLast), r.Batch)+2)
	sub, err := nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return fmt.Errorf("direct get %s: %w", stream, unavailable(err))
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, body); err != nil {
		return fmt.Errorf("direct get %s: %w", stream, unavailable(err))
	}
	for {
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-ctx.Done():
			return fmt.Errorf("direct get %s: %w", stream, unavailable(ctx.Err()))
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204", "404":
			return nil
		case "503":
			return fmt.Errorf("direct get %s: %w", stream, unavailable(nats.ErrNoResponders))
		default:
			return fmt.Errorf("direct get %s: refused: %s %s", stream, status, m.Header.Get("Description"))
		}
		s, err := directMessage(m)
		if err != nil {
			return fmt.Errorf("direct get %s: %w", stream, err)
		}
		if err := f(s); err != nil {
			return err
		}
		if r.Batch == 0 && len(r.MultiLast) == 0 {
			return nil // a single get has no end mark
		}
	}
}

func directMessage(m *nats.Msg) (stored, error) {
	seq, err := parseUint(m.Header.Get("Nats-Sequence"))
	if err != nil {
		return stored{}, fmt.Errorf("Nats-Sequence: %w", err)
	}
	at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
	if err != nil {
		return stored{}, fmt.Errorf("Nats-Time-Stamp: %w", err)
	}
	answer := stored{Subject: m.Header.Get("Nats-Subject"), Seq: seq, Time: at, Header: m.Header, Data: m.Data}
	for name := range m.Header {
		if strings.HasPrefix(name, "Nats-") { // what the broker added is not part of the message
			delete(m.Header, name)
		}
	}
	return answer, nil
}

// directLast reads the last message of a subject from any replica.
func directLast(ctx context.Context, nc *nats.Conn, stream, subject string) (stored, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWithin)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+stream+"."+subject, nil)
	if err != nil {
		return stored{}, fmt.Errorf("direct get %s: %w", stream, unavailable(err))
	}
	switch status := m.Header.Get("Status"); status {
	case "":
		return directMessage(m)
	case "404":
		return stored{}, errNoMessage
	default:
		return stored{}, fmt.Errorf("direct get %s: refused: %s %s", stream, status, m.Header.Get("Description"))
	}
}

// leaderLast reads the last message of a subject from the leader.
func leaderLast(ctx context.Context, nc *nats.Conn, stream, subject string) (stored, error) {
	return leaderGet(ctx, nc, stream, getRequest{LastFor: subject})
}
