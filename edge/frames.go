package edge

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/telemetry"
	"github.com/parley-chat/parley/pkg/wire"
)

const (
	framesRate = 200  // frames a second per connection
	framesMost = 2000 // in a burst
)

// allowance is a connection's limit on frames: the time (Unix nanoseconds) at which all frames so far are paid for,
// one each 1/framesRate s. It may lie ahead by what framesMost cost.
type allowance int64

func (a *allowance) allow(now time.Time) bool {
	const cost = allowance(time.Second / framesRate)
	paid := max(*a, allowance(now.UnixNano())) + cost
	if paid-allowance(now.UnixNano()) > framesMost*cost {
		return false
	}
	*a = paid
	return true
}

// isJWT tells an access token from a ticket: three parts.
func isJWT(token string) bool { return strings.Count(token, ".") == 2 }

// handle acts on one frame of an authenticated connection. It is called by the reader and does not wait for
// anything but memory.
func (c *connection) handle(in inbound) {
	f, err := wire.DecodeFrame(in.data)
	foreign := err != nil && chat.KindOf(err) == chat.InvalidText && !utf8.Valid(in.data)
	c.edge.recycle(in)
	release := in.release
	defer func() {
		if release != nil {
			release()
		}
	}()
	switch {
	case foreign: // RFC 6455 wants a text frame that is not UTF-8 to end the connection
		c.refuse(f.ID, err)
		c.finish(websocket.CloseInvalidFramePayloadData, "not UTF-8")
		return
	case err != nil:
		c.edge.metrics.frame("")
		c.refuse(f.ID, err)
		return
	}
	c.edge.metrics.frame(f.Type)
	if !c.edge.config.NoLimits && !c.frames.allow(time.Now()) {
		c.refuse(f.ID, limitedFor(time.Second, "more than %d frames a second", framesRate))
		return
	}
	switch f.Type {
	case wire.TypeMessageSend, wire.TypeMessageEdit, wire.TypeMessageDelete:
		if c.send(f, release) {
			release = nil // the send gives it back when it is answered
		}
	case wire.TypeMessageDelivered, wire.TypeMessageRead:
		c.moveCursor(f)
	case wire.TypeTypingStart, wire.TypeTypingStop:
		c.typing(f)
	case wire.TypePresenceSub:
		c.subscribePresence(f)
	case wire.TypePresenceUpdate:
		c.setStatus(f)
	case wire.TypeSync:
		c.startSync(f)
	case wire.TypePing:
		c.reply(f.ID, wire.TypePong, struct{}{})
	case wire.TypePong:
	case wire.TypeAuth:
		c.reauthenticate(f)
	default:
		c.refuse(f.ID, chat.Errorf(chat.UnknownType, "frame type %q is unknown", chat.Clip(f.Type)))
	}
}

// commandOf makes the command that a send, edit or delete asks for.
func (c *connection) commandOf(f wire.Frame) (conversation.Command, error) {
	switch f.Type {
	case wire.TypeMessageEdit:
		data, err := wire.DecodeData[wire.MessageEdit](f)
		if err != nil {
			return conversation.Command{}, err
		}
		cmd := conversation.Command{Op: conversation.OpEdit, TargetSeq: data.Seq, Text: data.Text}
		return c.edge.command(cmd, c.who().UserID, data.ConversationID, data.ClientID)
	case wire.TypeMessageDelete:
		data, err := wire.DecodeData[wire.MessageDelete](f)
		if err != nil {
			return conversation.Command{}, err
		}
		cmd := conversation.Command{Op: conversation.OpDelete, TargetSeq: data.Seq}
		return c.edge.command(cmd, c.who().UserID, data.ConversationID, data.ClientID)
	default:
		data, err := wire.DecodeData[wire.MessageSend](f)
		if err != nil {
			return conversation.Command{}, err
		}
		cmd := conversation.Command{Op: conversation.OpSend, Type: data.Type, Text: data.Text, ReplyTo: data.ReplyTo}
		return c.edge.command(cmd, c.who().UserID, data.ConversationID, data.ClientID)
	}
}

// command completes a command from outside text and judges its form.
func (e *Edge) command(cmd conversation.Command, actor chat.UserID, id, client string) (conversation.Command, error) {
	var err error
	if cmd.ConversationID, err = chat.ParseConversationID(id); err != nil {
		return cmd, err
	}
	if cmd.ClientID, err = chat.ParseClientID(client); err != nil {
		return cmd, err
	}
	cmd.Actor = actor
	return e.seal(cmd)
}

// seal judges a command's form and gives it its hash and trace.
func (e *Edge) seal(cmd conversation.Command) (conversation.Command, error) {
	if err := conversation.Check(cmd); err != nil {
		return cmd, err
	}
	if err := conversation.CheckClientTime(cmd, e.config.Now()); err != nil {
		return cmd, err
	}
	cmd.Hash = conversation.BodyHash(e.config.KeyBodies, cmd)
	if cmd.Trace == "" {
		cmd.Trace = telemetry.NewTrace()
	}
	return cmd, nil
}
