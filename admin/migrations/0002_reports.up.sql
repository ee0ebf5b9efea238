-- The last report of each process of an edge, so that none is counted twice.
CREATE TABLE report (
    edge TEXT NOT NULL,
    boot TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    PRIMARY KEY (edge, boot)
);

-- Counters of flags' variants and of releases since the beginning.
CREATE TABLE usage_count (
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    variant TEXT NOT NULL,
    count BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (app, environment, kind, key, variant)
);
