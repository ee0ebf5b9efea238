-- Who changed what: a chain of hashes that can only grow (docs/audit.md).

CREATE TABLE audit (
    sequence INTEGER NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    operation TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    request_id TEXT NOT NULL,
    previous TEXT NOT NULL,
    hash TEXT NOT NULL,
    changes TEXT NOT NULL
) STRICT;

CREATE INDEX audit_app ON audit (app, sequence);
CREATE INDEX audit_environment ON audit (environment, sequence);
CREATE INDEX audit_actor ON audit (actor, sequence);
CREATE INDEX audit_operation ON audit (operation, sequence);
CREATE INDEX audit_subject ON audit (subject, sequence);
CREATE INDEX audit_request ON audit (request_id, sequence);

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit only grows');
END;

CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit only grows');
END;

-- The end of the chain, in a row of its own, so that a chain cut short is noticed.
CREATE TABLE audit_head (
    one INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    sequence INTEGER NOT NULL,
    hash TEXT NOT NULL
) STRICT;

INSERT INTO audit_head (one, sequence, hash)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
