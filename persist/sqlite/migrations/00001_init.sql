-- +goose Up

-- A row without a head only gives a key to cursors that came before the first record.
CREATE TABLE conversations (
    key          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,
    partition    INTEGER NOT NULL DEFAULT -1,
    type         TEXT    NOT NULL DEFAULT '',
    name         TEXT    NOT NULL DEFAULT '',
    history      TEXT    NOT NULL DEFAULT '',
    settings_seq INTEGER NOT NULL DEFAULT 0,
    created_id   INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What every record moves, by itself: small rows of one length, overwritten in place.
CREATE TABLE heads (
    conversation INTEGER PRIMARY KEY,
    seq          INTEGER NOT NULL DEFAULT 0,
    n            INTEGER NOT NULL DEFAULT 0,
    id           INTEGER NOT NULL DEFAULT 0,
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
    client  BLOB,                       -- the sender's client id
    hash    BLOB,                       -- keyed hash of the body that came with it
    raw     BLOB    NOT NULL
) STRICT;

-- Client ids begin with their time, so new ones go to the end of this tree whatever their conversation.
CREATE INDEX records_client ON records (client) WHERE client IS NOT NULL;

-- What is known of one person in one conversation; key = conversation key << 36 | user key. seq 0: no
-- membership row, only times or cursors.
CREATE TABLE members (
    key           INTEGER PRIMARY KEY,
    role          TEXT    NOT NULL DEFAULT '',
    intervals     TEXT    NOT NULL DEFAULT '[]',
    seq           INTEGER NOT NULL DEFAULT 0,
    client_time   INTEGER NOT NULL DEFAULT 0, -- highest time (ms) inside the client ids stored
    read_seq      INTEGER NOT NULL DEFAULT 0,
    read_n        INTEGER NOT NULL DEFAULT 0,
    delivered_seq INTEGER NOT NULL DEFAULT 0,
    delivered_n   INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE positions (
    partition          INTEGER PRIMARY KEY,
    applied_generation INTEGER NOT NULL DEFAULT 0,
    applied_stream_seq INTEGER NOT NULL DEFAULT 0,
    applied_id         INTEGER NOT NULL DEFAULT 0,
    sealed_generation  INTEGER NOT NULL DEFAULT 0,
    sealed_stream_seq  INTEGER NOT NULL DEFAULT 0,
    sealed_id          INTEGER NOT NULL DEFAULT 0
) STRICT;
