package edge

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// What an assembly found.
type finding byte

const (
	foundNothing finding = iota // more bytes are needed
	foundMessage
	foundPing
	foundPong
	foundLarge // the message under way exceeds smallFrame: it needs a share of the budget to go on
)

// assembly puts a client's messages together out of the bytes that come. What lies whole in the bytes given is
// not copied; only what is cut is kept. Errors are as gorilla's reader would see them: a *websocket.CloseError
// for the client's close frame, errBinary, errTooLarge, or a protocolError. Not safe for concurrent use.
type assembly struct {
	scan    scanner
	message []byte // of a text message under way; nil: nothing was kept
	control []byte // of a control frame under way
	granted bool   // the message under way may be large
	whole   bool   // its last byte has come
}

// next reads from the beginning of b and overwrites it (the mask is taken off in place). data is valid until b
// or the assembly is used again. After foundLarge it goes on with the rest of b once grant was called.
func (a *assembly) next(b []byte) (what finding, data []byte, n int, err error) {
	for n < len(b) {
		p, used, found, err := a.scan.next(b[n:])
		n += used
		if err != nil {
			return foundNothing, nil, n, err
		}
		if !found {
			break
		}
		p.unmask()
		if p.op&controlBit != 0 {
			what, data, err = a.takeControl(&p)
		} else {
			what, data, err = a.takeData(&p)
		}
		if err != nil || what != foundNothing {
			return what, data, n, err
		}
	}
	return foundNothing, nil, n, nil
}

func (a *assembly) takeData(p *piece) (finding, []byte, error) {
	if p.op == frameBinary {
		return foundNothing, nil, errBinary
	}
	a.whole = p.ends && p.final
	if a.whole && a.message == nil && len(p.payload) <= smallFrame {
		return foundMessage, p.payload, nil
	}
	a.message = append(a.message, p.payload...)
	if len(a.message) > smallFrame && !a.granted {
		return foundLarge, nil, nil
	}
	if !a.whole {
		return foundNothing, nil, nil
	}
	return foundMessage, a.take(), nil
}

// grant lets the message under way be large, after foundLarge. It returns the message if that was its end.
func (a *assembly) grant() (message []byte, whole bool) {
	a.granted = true
	if !a.whole {
		return nil, false
	}
	return a.take(), true
}

func (a *assembly) take() []byte {
	m := a.message
	a.message, a.granted = nil, false
	return m
}

func (a *assembly) takeControl(p *piece) (finding, []byte, error) {
	payload := p.payload
	if !p.ends || a.control != nil {
		a.control = append(a.control, payload...)
		payload = a.control
	}
	if !p.ends {
		return foundNothing, nil, nil
	}
	a.control = nil
	switch p.op {
	case framePing:
		return foundPing, payload, nil
	case framePong:
		return foundPong, payload, nil
	default:
		return foundNothing, nil, closeOf(payload)
	}
}

// closeOf is a client's close frame as an error.
func closeOf(payload []byte) error {
	if len(payload) < 2 {
		return &websocket.CloseError{Code: websocket.CloseNoStatusReceived}
	}
	code, reason := int(binary.BigEndian.Uint16(payload)), payload[2:]
	switch {
	case !mayClose(code):
		return protocolError("close code is not allowed")
	case !utf8.Valid(reason):
		return protocolError("close reason is not UTF-8")
	}
	return &websocket.CloseError{Code: code, Text: string(reason)}
}

// mayClose reports whether a client may send a close code.
func mayClose(code int) bool {
	switch code {
	case 1004, websocket.CloseNoStatusReceived, websocket.CloseAbnormalClosure: // reserved, or never on the wire
		return false
	}
	return code >= 1000 && code <= 1013 || code >= 3000 && code <= 4999
}
