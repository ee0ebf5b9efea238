-- How candidates took over: each rollout with its plan and its state, what was decided, and what edges reported.

CREATE TABLE rollouts (
    id INTEGER NOT NULL PRIMARY KEY,
    app TEXT NOT NULL,
    environment TEXT NOT NULL,
    release TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    ended_at INTEGER,
    counted INTEGER NOT NULL,
    transitions INTEGER NOT NULL,
    plan TEXT NOT NULL,
    document TEXT NOT NULL
) STRICT;

CREATE INDEX rollouts_environment ON rollouts (app, environment, id);
-- One at a time.
CREATE UNIQUE INDEX rollouts_under_way ON rollouts (app, environment) WHERE ended_at IS NULL;

CREATE TABLE rollout_transitions (
    rollout INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    state_before TEXT NOT NULL,
    state_after TEXT NOT NULL,
    actor TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    counted INTEGER NOT NULL,
    begins_step INTEGER NOT NULL,
    sentence TEXT NOT NULL,
    grounds TEXT,
    PRIMARY KEY (rollout, number)
) STRICT;

CREATE TRIGGER rollout_transitions_are_not_changed BEFORE UPDATE ON rollout_transitions
BEGIN
    SELECT RAISE(ABORT, 'transitions of rollouts only grow');
END;

CREATE TRIGGER rollout_transitions_are_not_shortened BEFORE DELETE ON rollout_transitions
BEGIN
    SELECT RAISE(ABORT, 'transitions of rollouts only grow');
END;

CREATE TABLE rollout_batches (
    rollout INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    stratum TEXT NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (rollout, sequence, stratum)
) STRICT;
