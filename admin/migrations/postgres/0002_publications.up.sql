-- What edges are given: signed snapshots, withdrawals, and the keys of the environments.

CREATE TABLE environment_keys (
    app text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    PRIMARY KEY (app, environment)
);

CREATE TABLE publications (
    sequence bigint NOT NULL PRIMARY KEY,
    app text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    created_at bigint NOT NULL,
    sha256 text COLLATE "C" NOT NULL,
    previous text COLLATE "C" NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    signature text COLLATE "C" NOT NULL,
    audit bigint NOT NULL,
    bytes bigint NOT NULL,
    document text COLLATE "C"
);

CREATE INDEX publications_numbers ON publications (app, environment, number);

-- A withdrawal has no document and may share its number.
CREATE UNIQUE INDEX publications_documents ON publications (app, environment, number) WHERE document IS NOT NULL;

-- The newest publication of each environment, so that whoever catches up reads no history.
CREATE TABLE latest_publications (
    app text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (app, environment)
);

CREATE UNIQUE INDEX latest_publications_sequence ON latest_publications (sequence);
