-- What is still to be told to people and programs, and what was. Written with the decision that it is about.

CREATE TABLE outbox (
    id INTEGER NOT NULL PRIMARY KEY,
    destination TEXT NOT NULL,
    channel TEXT NOT NULL,
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    rollout INTEGER NOT NULL,
    occasion TEXT NOT NULL,
    action TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    next_at INTEGER,
    attempts INTEGER NOT NULL,
    state TEXT NOT NULL,
    error TEXT,
    document TEXT NOT NULL
) STRICT;

CREATE INDEX outbox_waiting ON outbox (destination, next_at);
CREATE INDEX outbox_environment ON outbox (app, environment, id);
