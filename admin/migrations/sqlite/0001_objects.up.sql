-- What people edit, the revisions of it, and the two counters that the whole installation shares.

CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;

INSERT INTO counters (name, value) VALUES ('revision', 0), ('sequence', 0);

CREATE TABLE objects (
    app TEXT NOT NULL,
    kind TEXT NOT NULL,
    environment TEXT NOT NULL,
    key TEXT NOT NULL,
    revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (app, kind, environment, key)
) STRICT;

CREATE INDEX objects_apps ON objects (app) WHERE kind = 'app';

CREATE TABLE app_revisions (
    app TEXT NOT NULL PRIMARY KEY,
    revision INTEGER NOT NULL
) STRICT;
