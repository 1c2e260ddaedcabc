-- +goose Up

-- What the person of a self conversation wants of others. A row that is the default again stays for its seq.
CREATE TABLE preferences (
    conversation INTEGER NOT NULL, -- the self conversation
    about        TEXT    NOT NULL,
    muted_until  TEXT    NOT NULL DEFAULT '',
    archived     INTEGER NOT NULL DEFAULT 0,
    pinned       INTEGER NOT NULL DEFAULT 0,
    seq          INTEGER NOT NULL,
    PRIMARY KEY (conversation, about)
) STRICT, WITHOUT ROWID;
