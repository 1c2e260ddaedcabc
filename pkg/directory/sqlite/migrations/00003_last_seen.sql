-- +goose Up

-- When a person was last seen, in milliseconds since 1970: one row per person, overwritten, gone with the account.
-- Apart from users, so that it does not rewrite their wider rows.
CREATE TABLE last_seen (
    user_id  TEXT    NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down

DROP TABLE last_seen;
