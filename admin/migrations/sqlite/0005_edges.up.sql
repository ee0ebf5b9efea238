-- Edges that were seen, which of their reports were counted, and what they counted.

CREATE TABLE edges (
    id TEXT NOT NULL PRIMARY KEY,
    document TEXT NOT NULL,
    seen_at INTEGER NOT NULL
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
