-- What is known of releases beside the counters: how edges find them, alerts that fire, what the infrastructure uses. Only
-- the last word of each source is kept.

CREATE TABLE signals (
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    kind TEXT NOT NULL,
    source TEXT NOT NULL,
    at INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (app, environment, kind, source)
) STRICT;

CREATE INDEX signals_at ON signals (kind, at);
