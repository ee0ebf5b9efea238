-- What people edit, the revisions of it, and the two counters that the whole installation shares.
-- COLLATE "C": texts are ordered by their bytes, whatever the database was made with.

CREATE TABLE counters (
    name text COLLATE "C" NOT NULL PRIMARY KEY,
    value bigint NOT NULL
);

INSERT INTO counters (name, value) VALUES ('revision', 0), ('sequence', 0);

CREATE TABLE objects (
    app text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    revision bigint NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    document text COLLATE "C" NOT NULL,
    PRIMARY KEY (app, kind, environment, key)
);

CREATE INDEX objects_apps ON objects (app) WHERE kind = 'app';

CREATE TABLE app_revisions (
    app text COLLATE "C" NOT NULL PRIMARY KEY,
    revision bigint NOT NULL
);
