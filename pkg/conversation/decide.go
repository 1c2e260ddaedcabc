package conversation

import "github.com/parley-chat/parley/pkg/chat"

// Decide judges a command, correct in form (Check), against the state at the head.
//
// Who is no open member learns nothing: not_found, whether the conversation exists or not. A client id
// that gave something before stands as it was, even if the rules would refuse it now, and is a conflict
// with another body. Facts that are missing are asked for, several at once; the shell looks them up, at
// the same head, and asks again.
func Decide(s State, c Command, f Facts, l Limits) (Verdict, error) {
	if !s.Exists() && c.Op == OpCreate {
		return decideCreate(c, l)
	}
	if !s.IsMember(c.Actor) {
		return Verdict{}, chat.Errorf(chat.NotFound, "no such conversation")
	}
	if v := missing(s, c, f); v.NeedsPrior || v.NeedsTarget {
		return v, nil
	}
	if f.Prior != nil && !c.ClientID.IsZero() {
		return repeat(c, *f.Prior)
	}
	switch c.Op {
	case OpCreate:
		return decideCreateAgain(s, c)
	case OpSend:
		return decideSend(s, c)
	case OpEdit:
		return decideEdit(s, c, f)
	case OpDelete:
		return decideDelete(s, c, f)
	case OpAdd:
		return decideAdd(s, c, l)
	case OpRemove:
		return decideRemove(s, c)
	case OpRole:
		return decideRole(s, c)
	case OpSettings:
		return decideSettings(s, c)
	case OpPreference:
		return decidePreference(s, c)
	default:
		return Verdict{}, chat.Errorf(chat.Invalid, "unknown command %q", chat.Clip(string(c.Op)))
	}
}

// missing names the facts that the command's rules need and f does not have.
func missing(s State, c Command, f Facts) Verdict {
	if c.ClientID.IsZero() {
		f.PriorKnown, f.Prior = true, nil
	}
	if f.PriorKnown && f.Prior != nil {
		return Verdict{}
	}
	aims := c.Op == OpEdit || c.Op == OpDelete
	return Verdict{
		NeedsPrior:  !f.PriorKnown,
		NeedsTarget: aims && !f.TargetKnown && s.reaches(c.Actor, c.TargetSeq),
	}
}

func repeat(c Command, prior Outcome) (Verdict, error) {
	if prior.Hash != c.Hash {
		return Verdict{}, chat.Errorf(chat.Conflict, "client_id was used for something else")
	}
	return Verdict{Standing: &prior}, nil
}

// standing is the verdict on a command that changes nothing: the present head.
func standing(s State, c Command) (Verdict, error) {
	return Verdict{Standing: &Outcome{ID: s.Head.ID, Seq: s.Head.Seq, N: s.Head.N, Hash: c.Hash}}, nil
}

// newRecord begins the record of a command; Stamp completes it.
func newRecord(c Command, kind chat.RecordKind) *chat.Record {
	return &chat.Record{ConversationID: c.ConversationID, Kind: kind, SenderID: c.Actor, ClientID: c.ClientID}
}

func decideCreate(c Command, l Limits) (Verdict, error) {
	kind := c.ConversationID.Type()
	r := newRecord(c, chat.KindCreate)
	r.Type = string(kind)
	first := chat.RoleMember
	if kind == chat.Group {
		first = chat.RoleOwner
		r.Name, r.History = c.Name, c.History
	}
	count := 1 + len(c.Members)
	if most := mostMembers(kind, l); count > most {
		return Verdict{}, chat.Errorf(chat.Invalid, "%d members, at most %d are allowed", count, most)
	}
	if kind == chat.Direct && count != 2 {
		return Verdict{}, chat.Errorf(chat.Invalid, "a direct conversation has exactly two members")
	}
	r.Members = make([]chat.MemberEntry, 0, count)
	r.Members = append(r.Members, chat.MemberEntry{UserID: c.Actor, Role: first})
	for _, u := range c.Members {
		r.Members = append(r.Members, chat.MemberEntry{UserID: u, Role: chat.RoleMember})
	}
	return Verdict{Record: r}, nil
}

func mostMembers(kind chat.Type, l Limits) int {
	switch kind {
	case chat.Self:
		return 1
	case chat.Direct:
		return 2
	default:
		return l.groupMembers()
	}
}

func (l Limits) groupMembers() int {
	if l.GroupMembers > 0 {
		return l.GroupMembers
	}
	return MaxGroupMembers
}

// decideCreateAgain answers a create of what exists and was not made by this very command: a direct or
// self conversation is what was wished for, a group is another one.
func decideCreateAgain(s State, c Command) (Verdict, error) {
	if s.Type == chat.Group {
		return Verdict{}, chat.Errorf(chat.Conflict, "client_id was used for another group")
	}
	return standing(s, c)
}

func decideSend(s State, c Command) (Verdict, error) {
	if c.ReplyTo != 0 && !s.reaches(c.Actor, c.ReplyTo) {
		return Verdict{}, chat.Errorf(chat.Invalid, "reply_to names no record of this conversation")
	}
	r := newRecord(c, chat.KindMessage)
	r.Type, r.Text, r.ReplyTo = c.Type, c.Text, c.ReplyTo
	return Verdict{Record: r}, nil
}

func decideEdit(s State, c Command, f Facts) (Verdict, error) {
	target, err := message(s, c, f)
	if err != nil {
		return Verdict{}, err
	}
	if target.Sender != c.Actor {
		return Verdict{}, chat.Errorf(chat.Forbidden, "only its sender edits a message")
	}
	if target.Deleted {
		return Verdict{}, chat.Errorf(chat.Conflict, "the message is deleted")
	}
	r := newRecord(c, chat.KindEdit)
	r.TargetSeq, r.Text = c.TargetSeq, c.Text
	return Verdict{Record: r}, nil
}

func decideDelete(s State, c Command, f Facts) (Verdict, error) {
	target, err := message(s, c, f)
	if err != nil {
		return Verdict{}, err
	}
	if target.Sender != c.Actor && !s.governs(c.Actor) {
		return Verdict{}, chat.Errorf(chat.Forbidden, "only its sender, or an owner or admin of the group, deletes a message")
	}
	if target.Deleted {
		return standing(s, c)
	}
	r := newRecord(c, chat.KindDelete)
	r.TargetSeq = c.TargetSeq
	return Verdict{Record: r}, nil
}

// message is the target of an edit or delete if it is a message that the actor may see.
func message(s State, c Command, f Facts) (Target, error) {
	if !s.reaches(c.Actor, c.TargetSeq) || f.Target == nil || f.Target.Kind != chat.KindMessage {
		return Target{}, chat.Errorf(chat.NotFound, "no such message")
	}
	return *f.Target, nil
}
