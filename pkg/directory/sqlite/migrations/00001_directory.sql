-- +goose Up

-- Times are milliseconds since 1970, ids and hashes text. Folded columns decide what is unique and found.
CREATE TABLE users (
    id             TEXT   NOT NULL PRIMARY KEY,
    username       TEXT   NOT NULL UNIQUE,
    display_name   TEXT   NOT NULL,
    email          TEXT   NOT NULL,
    email_folded   TEXT   NOT NULL,
    password_hash  TEXT   NOT NULL,
    created_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Accounts without an address (none are made yet) do not collide.
CREATE UNIQUE INDEX users_email ON users (email_folded) WHERE email_folded <> '';

CREATE TABLE sessions (
    id              TEXT   NOT NULL PRIMARY KEY,
    user_id         TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name            TEXT   NOT NULL,
    created_at      INTEGER NOT NULL,
    last_used_at    INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    revoked_at      INTEGER NOT NULL DEFAULT 0, -- 0: alive
    refresh_family  TEXT   NOT NULL UNIQUE,
    refresh_token   TEXT   NOT NULL            -- the one that is good now
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_user ON sessions (user_id, created_at);
CREATE INDEX sessions_revoked ON sessions (revoked_at) WHERE revoked_at > 0;

-- The projection of the log. A member now: joined_seq > removed_seq.
CREATE TABLE conversations (
    id          TEXT   NOT NULL PRIMARY KEY,
    type        TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    created_at  INTEGER NOT NULL,
    seq         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE participants (
    user_id          TEXT   NOT NULL,
    conversation_id  TEXT   NOT NULL,
    role             TEXT   NOT NULL,
    role_seq         INTEGER NOT NULL, -- of the record that gave the role
    joined_seq       INTEGER NOT NULL,
    removed_seq      INTEGER NOT NULL,
    seq              INTEGER NOT NULL,
    PRIMARY KEY (user_id, conversation_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE positions (
    partition_number  INTEGER NOT NULL PRIMARY KEY,
    generation        INTEGER NOT NULL,
    stream_seq        INTEGER NOT NULL,
    record_id         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- +goose Down

DROP TABLE positions;
DROP TABLE participants;
DROP TABLE conversations;
DROP TABLE sessions;
DROP TABLE users;
