package roster

import (
	"time"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
	"github.com/parley-chat/parley/pkg/directory"
)

// project adds what one record changes to a projection. Kinds that change no list add nothing.
func project(p *directory.Projection, r *chat.Record) {
	switch r.Kind {
	case chat.KindCreate:
		row := conversationRow(r)
		row.CreatedAt = r.ID.Time()
		p.Conversations = append(p.Conversations, row)
		for _, m := range r.Members {
			p.Participants = append(p.Participants, directory.Participant{
				ConversationID: r.ConversationID, UserID: m.UserID, Role: m.Role, JoinedSeq: r.Seq, Seq: r.Seq,
			})
		}
	case chat.KindSettings:
		if r.Name != nil {
			p.Conversations = append(p.Conversations, conversationRow(r))
		}
	case chat.KindMember:
		for _, u := range r.UserIDs {
			p.Participants = append(p.Participants, memberRow(r, u))
		}
	default:
	}
}

func conversationRow(r *chat.Record) directory.Conversation {
	row := directory.Conversation{ID: r.ConversationID, Type: r.ConversationID.Type(), Seq: r.Seq}
	if r.Name != nil {
		row.Name = *r.Name
	}
	return row
}

// memberRow says what a member record changed and nothing else: the directory keeps the rest.
func memberRow(r *chat.Record, u chat.UserID) directory.Participant {
	row := directory.Participant{ConversationID: r.ConversationID, UserID: u, Seq: r.Seq}
	switch r.Action {
	case chat.ActionAdded:
		row.Role, row.JoinedSeq = chat.RoleMember, r.Seq
	case chat.ActionRemoved, chat.ActionLeft:
		row.RemovedSeq = r.Seq
	case chat.ActionRole:
		row.Role = r.Role
	default: // an action of a later version: the row moves only its seq
	}
	return row
}

// stateRows are the rows of a whole conversation, former members included.
func stateRows(p *directory.Projection, s conversation.State) {
	row := directory.Conversation{ID: s.ID, Type: s.ID.Type(), Name: s.Name, Seq: s.SettingsSeq}
	if s.CreatedID != 0 {
		row.CreatedAt = s.CreatedID.Time().Truncate(time.Millisecond)
	}
	p.Conversations = append(p.Conversations, row)
	for u, m := range s.Members {
		row := directory.Participant{ConversationID: s.ID, UserID: u, Role: m.Role, Seq: m.Seq}
		if len(m.Intervals) > 0 {
			last := m.Intervals[len(m.Intervals)-1]
			row.JoinedSeq, row.RemovedSeq = last.Joined, last.Removed
		}
		p.Participants = append(p.Participants, row)
	}
}
