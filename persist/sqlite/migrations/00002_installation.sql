-- +goose Up

-- The installation key that the rows were made under, by its fingerprint: one row, written once.
CREATE TABLE installation (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    fingerprint TEXT NOT NULL
) STRICT;
