-- What is known of releases beside the counters: how edges find them, alerts that fire, what the infrastructure uses. Only
-- the last word of each source is kept.

CREATE TABLE signals (
    app text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    at bigint NOT NULL,
    document text COLLATE "C" NOT NULL,
    PRIMARY KEY (app, environment, kind, source)
);

CREATE INDEX signals_at ON signals (kind, at);
