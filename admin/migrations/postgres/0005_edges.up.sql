-- Edges that were seen, which of their reports were counted, and what they counted.

CREATE TABLE edges (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    document text COLLATE "C" NOT NULL,
    seen_at bigint NOT NULL
);

CREATE TABLE edge_reports (
    edge text COLLATE "C" NOT NULL,
    boot text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    at bigint NOT NULL,
    PRIMARY KEY (edge, boot)
);

CREATE TABLE usage_counters (
    app text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    variant text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    last_at bigint NOT NULL,
    PRIMARY KEY (app, environment, kind, key, variant)
);
