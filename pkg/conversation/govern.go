package conversation

import (
	"slices"

	"github.com/parley-chat/parley/pkg/chat"
)

// governs reports whether u may change a group's members and settings.
func (s State) governs(u chat.UserID) bool {
	if s.Type != chat.Group {
		return false
	}
	role := s.RoleOf(u)
	return role == chat.RoleOwner || role == chat.RoleAdmin
}

// mayGovern refuses what only a group has, and then only for its owners and admins.
func mayGovern(s State, u chat.UserID) error {
	if s.Type != chat.Group {
		return chat.Errorf(chat.Forbidden, "only a group's members and settings change")
	}
	if !s.governs(u) {
		return chat.Errorf(chat.Forbidden, "only an owner or admin may do this")
	}
	return nil
}

func decideAdd(s State, c Command, l Limits) (Verdict, error) {
	if err := mayGovern(s, c.Actor); err != nil {
		return Verdict{}, err
	}
	var joining []chat.UserID
	for _, u := range c.Members {
		if !s.IsMember(u) && !slices.Contains(joining, u) {
			joining = append(joining, u)
		}
	}
	if len(joining) == 0 {
		return standing(s, c)
	}
	if s.MemberCount+len(joining) > l.groupMembers() {
		return Verdict{}, chat.Errorf(chat.Conflict, "group is full: it has %d members, at most %d are allowed", s.MemberCount, l.groupMembers())
	}
	return memberVerdict(c, chat.ActionAdded, joining...)
}

func decideRemove(s State, c Command) (Verdict, error) {
	if s.Type != chat.Group {
		return Verdict{}, chat.Errorf(chat.Forbidden, "only a group's members change")
	}
	u, err := oneMember(c)
	if err != nil {
		return Verdict{}, err
	}
	if u == c.Actor {
		return decideLeave(s, c)
	}
	if err := mayGovern(s, c.Actor); err != nil {
		return Verdict{}, err
	}
	if !s.IsMember(u) {
		return standing(s, c)
	}
	if s.RoleOf(c.Actor) == chat.RoleAdmin && s.RoleOf(u) != chat.RoleMember {
		return Verdict{}, chat.Errorf(chat.Forbidden, "an admin removes members only")
	}
	return memberVerdict(c, chat.ActionRemoved, u)
}

func decideLeave(s State, c Command) (Verdict, error) {
	if s.onlyOwner(c.Actor) && s.MemberCount > 1 {
		return Verdict{}, chat.Errorf(chat.Conflict, "the last owner appoints another one before leaving")
	}
	return memberVerdict(c, chat.ActionLeft, c.Actor)
}

func decideRole(s State, c Command) (Verdict, error) {
	if s.Type != chat.Group || s.RoleOf(c.Actor) != chat.RoleOwner {
		return Verdict{}, chat.Errorf(chat.Forbidden, "only an owner of a group gives roles")
	}
	u, err := oneMember(c)
	if err != nil {
		return Verdict{}, err
	}
	if !s.IsMember(u) {
		return Verdict{}, chat.Errorf(chat.NotFound, "no such member")
	}
	if s.RoleOf(u) == c.Role {
		return standing(s, c)
	}
	if s.onlyOwner(u) {
		return Verdict{}, chat.Errorf(chat.Conflict, "the last owner appoints another one first")
	}
	v, err := memberVerdict(c, chat.ActionRole, u)
	if err != nil {
		return Verdict{}, err
	}
	v.Record.Role = c.Role
	return v, nil
}

func decideSettings(s State, c Command) (Verdict, error) {
	if err := mayGovern(s, c.Actor); err != nil {
		return Verdict{}, err
	}
	r := newRecord(c, chat.KindSettings)
	if c.Name != nil && *c.Name != s.Name {
		r.Name = c.Name
	}
	if c.History != "" && c.History != s.History {
		r.History = c.History
	}
	if r.Name == nil && r.History == "" {
		return standing(s, c)
	}
	return Verdict{Record: r}, nil
}

func oneMember(c Command) (chat.UserID, error) {
	if len(c.Members) != 1 {
		return "", chat.Errorf(chat.Invalid, "name exactly one member")
	}
	return c.Members[0], nil
}

func memberVerdict(c Command, action chat.Action, users ...chat.UserID) (Verdict, error) {
	r := newRecord(c, chat.KindMember)
	r.Action, r.UserIDs = action, users
	return Verdict{Record: r}, nil
}

// onlyOwner reports whether u is an owner and nobody else is.
func (s State) onlyOwner(u chat.UserID) bool {
	if s.RoleOf(u) != chat.RoleOwner {
		return false
	}
	for other, m := range s.Members {
		if other != u && m.Open() && m.Role == chat.RoleOwner {
			return false
		}
	}
	return true
}
