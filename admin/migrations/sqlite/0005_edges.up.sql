-- The edges of each process, which of their reports were counted, and what they counted.

CREATE TABLE rosters (
    process TEXT NOT NULL PRIMARY KEY,
    beat INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;

CREATE TABLE edge_reports (
    edge TEXT NOT NULL,
    boot TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (edge, boot)
) STRICT;

CREATE TABLE usage_counters (
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    variant TEXT NOT NULL,
    count INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (app, environment, kind, key, variant)
) STRICT;
