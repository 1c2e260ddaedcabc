package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/parley-chat/parley/pkg/chat"
)

// Decode reads outside JSON into v, strictly: text that is not Unicode (invalid UTF-8, a lone surrogate
// escape) is invalid_text; nesting above MaxDepth, a repeated name, a value of another type, anything
// after the value and everything else malformed is invalid. Unknown names pass.
func Decode(b []byte, v any) error {
	if tooDeep(b) {
		return chat.Errorf(chat.Invalid, "JSON nests deeper than %d", MaxDepth)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return refusal(b, err)
	}
	return nil
}

// DecodeFrame reads an inbound frame by the rules of Decode; Data is a copy. With an error the frame holds
// ID and Type as far as they can be told, so that the refusal reaches whoever waits for an answer.
func DecodeFrame(b []byte) (Frame, error) {
	if len(b) > MaxFrame {
		return Frame{}, chat.Errorf(chat.TooLarge, "frame has %d bytes, at most %d are allowed", len(b), MaxFrame)
	}
	var f Frame
	if err := Decode(b, &f); err != nil {
		return sketch(b), err
	}
	if f.Type == "" {
		return Frame{ID: f.ID}, chat.Errorf(chat.Invalid, "frame has no type")
	}
	return f, nil
}

// DecodeData reads a frame's data by the rules of Decode; absent data is T's zero value.
func DecodeData[T any](f Frame) (T, error) {
	var v T
	if len(f.Data) == 0 {
		return v, nil
	}
	if err := Decode(f.Data, &v); err != nil {
		var none T
		return none, err
	}
	return v, nil
}

// EncodeFrame is a whole frame. Raw records inside data keep their bytes. id 0 is a push; nil data is left out.
func EncodeFrame(id uint64, typ string, data any) ([]byte, error) {
	b := make([]byte, 0, 256)
	b = append(b, '{')
	if id != 0 {
		b = append(b, `"id":`...)
		b = strconv.AppendUint(b, id, 10)
		b = append(b, ',')
	}
	b = append(b, `"type":`...)
	b = chat.AppendQuoted(b, typ)
	if data != nil {
		raw, err := json.Marshal(data, jsontext.PreserveRawStrings(true))
		if err != nil {
			return nil, fmt.Errorf("encode frame %s: %w", typ, err)
		}
		b = append(b, `,"data":`...)
		b = append(b, raw...)
	}
	return append(b, '}'), nil
}

// AppendRaw appends a push frame around data that is JSON already.
func AppendRaw(b []byte, typ string, raw []byte) []byte {
	b = append(b, `{"type":`...)
	b = chat.AppendQuoted(b, typ)
	b = append(b, `,"data":`...)
	b = append(b, raw...)
	return append(b, '}')
}

// refusal tells why b, which did not decode, is refused: if only its text is at fault it is valid once text
// is not looked at. A refusal by a value's own type (an id) is passed on.
func refusal(b []byte, err error) error {
	if own, ok := errors.AsType[*chat.Error](err); ok {
		return own
	}
	lenient := jsontext.AllowInvalidUTF8(true)
	if !jsontext.Value(b).IsValid() && jsontext.Value(b).IsValid(lenient) {
		return chat.Errorf(chat.InvalidText, "text is not valid Unicode")
	}
	return chat.Errorf(chat.Invalid, "malformed JSON, or a value of the wrong type")
}

// sketch is what can be told of a frame that is refused.
func sketch(b []byte) Frame {
	var f struct {
		ID   uint64 `json:"id"`
		Type string `json:"type"`
	}
	// What was read before a fault counts as well: the error says nothing new.
	_ = json.Unmarshal(b, &f, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	return Frame{ID: f.ID, Type: f.Type}
}

// tooDeep reports whether b nests deeper than MaxDepth. Brackets inside strings do not count.
func tooDeep(b []byte) bool {
	if bytes.Count(b, []byte{'{'})+bytes.Count(b, []byte{'['}) <= MaxDepth {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			if depth > MaxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
