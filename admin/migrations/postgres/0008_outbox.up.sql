-- What is still to be told to people and programs, and what was. Written with the decision that it is about.

CREATE TABLE outbox (
    id bigint NOT NULL PRIMARY KEY,
    destination text COLLATE "C" NOT NULL,
    channel text COLLATE "C" NOT NULL,
    app text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    rollout bigint NOT NULL,
    occasion text COLLATE "C" NOT NULL,
    action text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    next_at bigint,
    attempts bigint NOT NULL,
    state text COLLATE "C" NOT NULL,
    error text COLLATE "C",
    document text COLLATE "C" NOT NULL
);

CREATE INDEX outbox_waiting ON outbox (destination, next_at);
CREATE INDEX outbox_environment ON outbox (app, environment, id);
