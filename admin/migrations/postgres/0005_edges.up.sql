-- The edges of each process, which of their reports were counted, and what they counted.

CREATE TABLE rosters (
    process text COLLATE "C" NOT NULL PRIMARY KEY,
    beat bigint NOT NULL,
    document text COLLATE "C" NOT NULL
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
