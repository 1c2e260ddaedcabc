-- +goose Up

-- A row without head (head_seq 0) only gives a key to cursors that came before the first record.
CREATE TABLE conversations (
    key          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    partition    INTEGER NOT NULL DEFAULT -1,
    type         TEXT    NOT NULL DEFAULT '',
    name         TEXT    NOT NULL DEFAULT '',
    history      TEXT    NOT NULL DEFAULT '',
    settings_seq INTEGER NOT NULL DEFAULT 0,
    created_id   INTEGER NOT NULL DEFAULT 0,
    head_seq     INTEGER NOT NULL DEFAULT 0,
    head_n       INTEGER NOT NULL DEFAULT 0,
    head_id      INTEGER NOT NULL DEFAULT 0,
    bucket       INTEGER NOT NULL DEFAULT 0,
    bucket_count INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE users (
    key INTEGER PRIMARY KEY,
    id  TEXT NOT NULL UNIQUE
) STRICT;

-- key = conversation key << 36 | seq. raw comes last: the other columns are read without its pages.
CREATE TABLE records (
    key     INTEGER PRIMARY KEY,
    id      INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    sender  INTEGER NOT NULL,
    edited  INTEGER NOT NULL DEFAULT 0, -- message: seq of its last edit
    prev    INTEGER NOT NULL DEFAULT 0, -- edit: seq of the edit before it
    deleted INTEGER NOT NULL DEFAULT 0,
    raw     BLOB    NOT NULL
) STRICT;

-- What is known of one person in one conversation. seq 0: no membership row, only times or cursors.
CREATE TABLE members (
    conversation  INTEGER NOT NULL,
    user          INTEGER NOT NULL,
    role          TEXT    NOT NULL DEFAULT '',
    intervals     TEXT    NOT NULL DEFAULT '[]',
    seq           INTEGER NOT NULL DEFAULT 0,
    client_time   INTEGER NOT NULL DEFAULT 0, -- highest time (ms) inside the client ids stored
    read_seq      INTEGER NOT NULL DEFAULT 0,
    read_n        INTEGER NOT NULL DEFAULT 0,
    delivered_seq INTEGER NOT NULL DEFAULT 0,
    delivered_n   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (conversation, user)
) STRICT, WITHOUT ROWID;

CREATE TABLE client_ids (
    conversation INTEGER NOT NULL,
    sender       INTEGER NOT NULL,
    client       BLOB    NOT NULL,
    seq          INTEGER NOT NULL,
    hash         BLOB    NOT NULL,
    PRIMARY KEY (conversation, sender, client)
) STRICT, WITHOUT ROWID;

CREATE TABLE positions (
    partition          INTEGER PRIMARY KEY,
    applied_generation INTEGER NOT NULL DEFAULT 0,
    applied_stream_seq INTEGER NOT NULL DEFAULT 0,
    applied_id         INTEGER NOT NULL DEFAULT 0,
    sealed_generation  INTEGER NOT NULL DEFAULT 0,
    sealed_stream_seq  INTEGER NOT NULL DEFAULT 0,
    sealed_id          INTEGER NOT NULL DEFAULT 0
) STRICT;
