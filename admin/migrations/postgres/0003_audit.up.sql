-- Who changed what: a chain of hashes that can only grow (docs/audit.md).

CREATE TABLE audit (
    sequence bigint NOT NULL PRIMARY KEY,
    at bigint NOT NULL,
    actor text COLLATE "C" NOT NULL,
    actor_name text COLLATE "C" NOT NULL,
    app text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    request_id text COLLATE "C" NOT NULL,
    previous text COLLATE "C" NOT NULL,
    hash text COLLATE "C" NOT NULL,
    changes text COLLATE "C" NOT NULL
);

CREATE INDEX audit_app ON audit (app, sequence);
CREATE INDEX audit_environment ON audit (environment, sequence);
CREATE INDEX audit_actor ON audit (actor, sequence);
CREATE INDEX audit_operation ON audit (operation, sequence);
CREATE INDEX audit_subject ON audit (subject, sequence);
CREATE INDEX audit_request ON audit (request_id, sequence);

CREATE FUNCTION audit_refuses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit only grows';
END
$$;

CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
FOR EACH ROW EXECUTE FUNCTION audit_refuses();

CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
FOR EACH ROW EXECUTE FUNCTION audit_refuses();

CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit
FOR EACH STATEMENT EXECUTE FUNCTION audit_refuses();

-- The end of the chain, in a row of its own, so that a chain cut short is noticed.
CREATE TABLE audit_head (
    one bigint NOT NULL PRIMARY KEY CHECK (one = 1),
    sequence bigint NOT NULL,
    hash text COLLATE "C" NOT NULL
);

INSERT INTO audit_head (one, sequence, hash)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
