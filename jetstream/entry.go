package jetstream

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/wire"
)

// EncodeEntry is the message that puts e into the log: its bytes as they are, its routing fields as
// headers. The writer adds its expectation and its reply subject.
func EncodeEntry(t Token, e *chat.Entry) *nats.Msg {
	h := make(nats.Header, 12)
	h[HeaderKind] = []string{string(e.Kind)}
	h[HeaderID] = []string{e.ID.String()}
	h[HeaderSeq] = []string{formatUint(uint64(e.Seq))}
	h[HeaderN] = []string{formatUint(e.N)}
	h[HeaderSender] = []string{string(e.SenderID)}
	if !e.ClientID.IsZero() {
		h[HeaderClientID] = []string{e.ClientID.String()}
	}
	h[HeaderBucket] = []string{formatUint(uint64(e.Bucket))}
	if e.BodyHash != (chat.Hash{}) {
		h[HeaderHash] = []string{hex.EncodeToString(e.BodyHash[:])}
	}
	h[HeaderTerm] = []string{formatUint(e.Term)}
	if e.Trace != "" {
		h[HeaderTrace] = []string{e.Trace}
	}
	return &nats.Msg{Subject: RecordSubject(t, e.ConversationID), Header: h, Data: e.Raw}
}

// FenceMsg is one filler of a takeover in term.
func FenceMsg(t Token, term uint64) *nats.Msg {
	return &nats.Msg{Subject: FenceSubject(t), Header: nats.Header{
		HeaderKind: []string{string(chat.KindFence)},
		HeaderTerm: []string{formatUint(term)},
	}}
}

// TermOf reads the writer's term; 0 when there is none.
func TermOf(h nats.Header) uint64 {
	term, err := parseUint(h.Get(HeaderTerm))
	if err != nil {
		return 0
	}
	return term
}

// DecodeEntry reads a message of the log. A fence gives an entry of KindFence that belongs to no
// conversation. When the record can not be read the entry still holds what subject and headers tell
// (conversation, kind, seq, n, id, sender), so that a store can keep its place.
func DecodeEntry(subject string, h nats.Header, data []byte, generation uint32, streamSeq uint64) (chat.Entry, error) {
	e, err := headerEntry(subject, h, data, generation, streamSeq)
	if err != nil {
		return e, fmt.Errorf("decode entry %d of generation %d: %w", streamSeq, generation, err)
	}
	if e.Kind == chat.KindFence {
		return e, nil
	}
	record, err := wire.DecodeRecord(data)
	if err != nil {
		return e, fmt.Errorf("decode entry %d of generation %d: %w", streamSeq, generation, err)
	}
	if err := agree(&e.Record, &record); err != nil {
		return e, fmt.Errorf("decode entry %d of generation %d: %w", streamSeq, generation, err)
	}
	e.Record = record
	return e, nil
}

// headerEntry fills in what is known without reading the record.
func headerEntry(subject string, h nats.Header, data []byte, generation uint32, streamSeq uint64) (chat.Entry, error) {
	e := chat.Entry{Raw: data, Term: TermOf(h), Trace: h.Get(HeaderTrace), Generation: generation, StreamSeq: streamSeq}
	conversation, ok := ConversationOf(subject)
	if !ok {
		if !strings.HasSuffix(subject, "."+FenceToken) {
			return e, fmt.Errorf("subject %q names no conversation", chat.Clip(subject))
		}
		e.Kind, e.Raw = chat.KindFence, nil
		return e, nil
	}
	e.ConversationID = conversation
	e.Kind = chat.RecordKind(h.Get(HeaderKind))
	var problems []error
	number := func(name string) uint64 {
		v, err := parseUint(h.Get(name))
		if err != nil {
			problems = append(problems, fmt.Errorf("header %s: %w", name, err))
		}
		return v
	}
	e.ID, e.Seq, e.N = chat.ID(number(HeaderID)), chat.Seq(number(HeaderSeq)), number(HeaderN)
	bucket, err := strconv.ParseUint(h.Get(HeaderBucket), 10, 32)
	if err != nil {
		problems = append(problems, fmt.Errorf("header %s: %w", HeaderBucket, err))
	}
	e.Bucket = chat.Bucket(bucket)
	problems = append(problems, headerIDs(&e, h))
	if e.Kind == chat.KindFence {
		problems = append(problems, errors.New("a fence on a conversation's subject"))
	}
	return e, errors.Join(problems...)
}

// headerIDs fills in sender, client id and body hash.
func headerIDs(e *chat.Entry, h nats.Header) error {
	var problems []error
	sender, err := chat.ParseUserID(h.Get(HeaderSender))
	if err != nil {
		problems = append(problems, fmt.Errorf("header %s: %w", HeaderSender, err))
	}
	e.SenderID = sender
	if text := h.Get(HeaderClientID); text != "" {
		client, err := chat.ParseClientID(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("header %s: %w", HeaderClientID, err))
		}
		e.ClientID = client
	}
	if text := h.Get(HeaderHash); text != "" {
		hash, err := hex.DecodeString(text)
		if err != nil || len(hash) != len(e.BodyHash) {
			problems = append(problems, fmt.Errorf("header %s: not a hash", HeaderHash))
		} else {
			copy(e.BodyHash[:], hash)
		}
	}
	return errors.Join(problems...)
}

// agree checks that headers and record tell the same: what consumers route on is what they store.
func agree(h, r *chat.Record) error {
	if h.ConversationID != r.ConversationID || h.Kind != r.Kind || h.Seq != r.Seq || h.N != r.N || h.ID != r.ID ||
		h.SenderID != r.SenderID || h.ClientID != r.ClientID {
		return fmt.Errorf("headers name %s %s %d, the record %s %s %d", h.ConversationID, h.Kind, h.Seq,
			chat.Clip(string(r.ConversationID)), chat.Clip(string(r.Kind)), r.Seq)
	}
	return nil
}

func formatUint(v uint64) string { return strconv.FormatUint(v, 10) }

func parseUint(s string) (uint64, error) { return strconv.ParseUint(s, 10, 64) }
