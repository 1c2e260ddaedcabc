package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/parley-chat/parley/pkg/chat"
	"github.com/parley-chat/parley/pkg/conversation"
)

// wish names a row of preferences.
type wish struct {
	conversation *conversationRow
	about        chat.ConversationID
}

// prefer moves the state rows by a preference. Its row is kept even when it is the default again: so an older
// record that comes late does not bring back what was ended.
func (w *batchWrite) prefer(ctx context.Context, c *conversationRow, r *chat.Record, bucket chat.Bucket) error {
	key := wish{c, r.About}
	row, known := w.preferences[key]
	if !known {
		var err error
		if row, err = w.findPreference(ctx, c, r.About); err != nil {
			return fmt.Errorf("preference of %s: %w", r.About, err)
		}
	}
	state := c.state
	if row.Seq > 0 {
		state.Preferences = conversation.Preferences{row}
	}
	state = conversation.Apply(state, *r, bucket)
	if r.Seq > row.Seq {
		row = state.Preferences.Of(r.About)
		row.About, row.Seq = r.About, r.Seq
		w.preferences[key] = row
	}
	state.Preferences = nil
	c.state = state
	return nil
}

// findPreference is a row as it stands; zero when there is none.
func (w *batchWrite) findPreference(ctx context.Context, c *conversationRow, about chat.ConversationID) (conversation.Preference, error) {
	row, err := scanPreference(w.row(ctx, w.sql.findPreference, c.key, string(about)))
	if errors.Is(err, sql.ErrNoRows) {
		return conversation.Preference{}, nil
	}
	return row, err
}

func (w *batchWrite) savePreferences(ctx context.Context) error {
	for key, p := range w.preferences {
		err := w.exec(ctx, w.sql.savePreference, key.conversation.key, string(p.About), string(p.MutedUntil), p.Archived, p.Pinned, int64(p.Seq))
		if err != nil {
			return fmt.Errorf("save preference of %s: %w", p.About, err)
		}
	}
	return nil
}

func scanPreference(row interface{ Scan(...any) error }) (conversation.Preference, error) {
	var p conversation.Preference
	var seq int64
	if err := row.Scan((*string)(&p.About), (*string)(&p.MutedUntil), &p.Archived, &p.Pinned, &seq); err != nil {
		return conversation.Preference{}, err
	}
	p.Seq = chat.Seq(seq)
	return p, nil
}

// preferences are those of a self conversation that are not the default, ascending by what they are about.
func (r *reader) preferences(ctx context.Context, c *conversationRow) (conversation.Preferences, error) {
	if c.id.Type() != chat.Self {
		return nil, nil
	}
	var all conversation.Preferences
	rows, err := r.sql.preferences.QueryContext(ctx, c.key)
	err = each(rows, err, func() error {
		p, err := scanPreference(rows)
		if err != nil {
			return fmt.Errorf("preference: %w", err)
		}
		all = append(all, p)
		return nil
	})
	return all, err
}
