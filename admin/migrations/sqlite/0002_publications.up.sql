-- What edges are given: signed snapshots, withdrawals, and the keys of the environments.

CREATE TABLE environment_keys (
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    id TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (app, environment)
) STRICT;

-- The document comes last, so that reading the columns before it does not touch its pages.
CREATE TABLE publications (
    sequence INTEGER NOT NULL PRIMARY KEY,
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    number INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    previous TEXT NOT NULL,
    key_id TEXT NOT NULL,
    signature TEXT NOT NULL,
    audit INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    document TEXT
) STRICT;

CREATE INDEX publications_numbers ON publications (app, environment, number);

-- A withdrawal has no document and may share its number.
CREATE UNIQUE INDEX publications_documents ON publications (app, environment, number) WHERE document IS NOT NULL;

-- The newest publication of each environment, so that whoever catches up reads no history.
CREATE TABLE latest_publications (
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (app, environment)
) STRICT;

CREATE UNIQUE INDEX latest_publications_sequence ON latest_publications (sequence);
