package edge

import (
	"context"
	"net/http"
	"strings"

	"github.com/parley-chat/parley/pkg/auth"
	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/directory"
)

const (
	searchResults = 20
	usersAtOnce   = 100
)

type personAnswer struct {
	User Person `json:"user"`
}

type peopleAnswer struct {
	Users []Person `json:"users"`
}

type profile struct {
	DisplayName string `json:"display_name" minLength:"1" maxLength:"64"`
}

func (r *rest) peopleOperations() {
	handle(r, spec{method: http.MethodGet, path: "users/me", id: "me", tag: "users", summary: "One's own account"},
		func(ctx context.Context, _ *nothing) (personAnswer, error) { return r.me(ctx) })
	handle(r, spec{method: http.MethodPatch, path: "users/me", id: "change-me", tag: "users", summary: "Change one's display name"},
		func(ctx context.Context, in *struct{ Body body[profile] }) (personAnswer, error) {
			if in.Body.err != nil {
				return personAnswer{}, in.Body.err
			}
			if err := directory.CheckDisplayName(in.Body.value.DisplayName); err != nil {
				return personAnswer{}, err
			}
			if err := r.edge.deps.Directory.SetProfile(ctx, claimsOf(ctx).UserID, in.Body.value.DisplayName); err != nil {
				return personAnswer{}, err
			}
			return r.me(ctx)
		})
	handle(r, spec{method: http.MethodGet, path: "users/search", id: "search-users", tag: "users", summary: "Find people by the beginning of their username"},
		func(ctx context.Context, in *struct {
			Query string `query:"query" doc:"At least one character."`
		},
		) (peopleAnswer, error) {
			if in.Query == "" || len(in.Query) > directory.MaxUsername {
				return peopleAnswer{}, chat.Errorf(chat.Invalid, "query has 1 to %d characters", directory.MaxUsername)
			}
			if ok, wait := r.edge.deps.Limiter.AllowUser(auth.LimitSearch, claimsOf(ctx).UserID); !ok {
				return peopleAnswer{}, limitedFor(wait, "too many searches")
			}
			found, err := r.edge.deps.Directory.SearchUsers(ctx, directory.Fold(in.Query), searchResults)
			return peopleOf(found), err
		})
	handle(r, spec{method: http.MethodGet, path: "users/{id}", id: "get-user", tag: "users", summary: "A person's profile"},
		func(ctx context.Context, in *struct {
			ID string `path:"id"`
		},
		) (personAnswer, error) {
			id, err := chat.ParseUserID(in.ID)
			if err != nil {
				return personAnswer{}, chat.Errorf(chat.NotFound, "no such user")
			}
			found, err := r.edge.deps.Directory.Users(ctx, []chat.UserID{id})
			if err == nil && len(found) == 0 {
				err = chat.Errorf(chat.NotFound, "no such user")
			}
			if err != nil {
				return personAnswer{}, err
			}
			p := personOf(found[0])
			p.Presence = r.edge.presenceOf(ctx, claimsOf(ctx).UserID, id)
			return personAnswer{p}, nil
		})
	handle(r, spec{method: http.MethodGet, path: "users", id: "get-users", tag: "users", summary: "Several profiles; unknown ids are left out"},
		func(ctx context.Context, in *struct {
			IDs string `query:"ids" doc:"At most 100 user ids, separated by commas."`
		},
		) (peopleAnswer, error) {
			ids, err := userIDs(in.IDs)
			if err != nil {
				return peopleAnswer{}, err
			}
			found, err := r.edge.deps.Directory.Users(ctx, ids)
			return peopleOf(found), err
		})
}

func (r *rest) me(ctx context.Context) (personAnswer, error) {
	a, err := r.edge.deps.Directory.Account(ctx, claimsOf(ctx).UserID)
	p := personOf(a.User)
	p.Email, p.SelfConversationID = a.Email, r.edge.selfID(a.ID)
	return personAnswer{p}, err
}

func peopleOf(users []directory.User) peopleAnswer {
	out := peopleAnswer{Users: make([]Person, 0, len(users))}
	for _, u := range users {
		out.Users = append(out.Users, personOf(u))
	}
	return out
}

func userIDs(list string) ([]chat.UserID, error) {
	if list == "" {
		return nil, chat.Errorf(chat.Invalid, "ids is empty")
	}
	names := strings.Split(list, ",")
	if len(names) > usersAtOnce {
		return nil, chat.Errorf(chat.Invalid, "%d ids, at most %d are allowed", len(names), usersAtOnce)
	}
	return parseUsers(names)
}

func parseUsers(names []string) ([]chat.UserID, error) {
	ids := make([]chat.UserID, 0, len(names))
	for _, name := range names {
		id, err := chat.ParseUserID(name)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// mustExist refuses people that the directory does not know.
func (e *Edge) mustExist(ctx context.Context, ids []chat.UserID) error {
	if len(ids) == 0 {
		return nil
	}
	found, err := e.deps.Directory.Users(ctx, ids)
	if err != nil {
		return unavailable(err, "look up", "users")
	}
	known := make(map[chat.UserID]bool, len(found))
	for _, u := range found {
		known[u.ID] = true
	}
	for _, id := range ids {
		if !known[id] {
			return chat.Errorf(chat.NotFound, "no such user: %s", id)
		}
	}
	return nil
}
