-- Every object of an app: documents that the model's readers give a meaning.
CREATE TABLE object (
    app TEXT NOT NULL,
    kind TEXT NOT NULL,
    environment TEXT NOT NULL,
    key TEXT NOT NULL,
    revision BIGINT NOT NULL,
    document TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (app, kind, environment, key)
);

-- The last revision that changed anything of an app, deletions included.
CREATE TABLE app_revision (
    app TEXT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);

-- Numbers that only grow: revision, publication, audit.
CREATE TABLE counter (
    name TEXT NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counter (name, value) VALUES ('revision', 0), ('publication', 0);

CREATE TABLE publication (
    sequence BIGINT NOT NULL PRIMARY KEY,
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    number BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    document TEXT,
    sha256 TEXT NOT NULL,
    previous TEXT NOT NULL,
    key_id TEXT NOT NULL,
    signature TEXT NOT NULL,
    audit BIGINT NOT NULL,
    UNIQUE (app, environment, number)
);

-- The secret that an environment hashes and signs with.
CREATE TABLE environment_key (
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    id TEXT NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (app, environment)
);

CREATE TABLE audit (
    sequence BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    operation TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    request_id TEXT NOT NULL,
    changes TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX audit_by_app ON audit (app, environment, sequence);
CREATE INDEX audit_by_actor ON audit (actor, sequence);

-- The head of the audit's hash chain: it shows that entries were cut off the end.
CREATE TABLE audit_head (
    one BIGINT NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO audit_head (one, sequence, hash)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

CREATE TABLE token (
    id TEXT NOT NULL PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT
);

-- Answers that are given again to the same request.
CREATE TABLE remembered (
    token TEXT NOT NULL,
    key TEXT NOT NULL,
    request TEXT NOT NULL,
    status BIGINT NOT NULL,
    headers TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (token, key)
);
CREATE INDEX remembered_by_age ON remembered (created_at);
