-- How candidates took over: each rollout with its plan and its state, what was decided, and what edges reported.

CREATE TABLE rollouts (
    id bigint NOT NULL PRIMARY KEY,
    app text COLLATE "C" NOT NULL,
    environment text COLLATE "C" NOT NULL,
    release text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    ended_at bigint,
    counted bigint NOT NULL,
    transitions bigint NOT NULL,
    plan text COLLATE "C" NOT NULL,
    document text COLLATE "C" NOT NULL
);

CREATE INDEX rollouts_environment ON rollouts (app, environment, id);
-- One at a time.
CREATE UNIQUE INDEX rollouts_under_way ON rollouts (app, environment) WHERE ended_at IS NULL;

CREATE TABLE rollout_transitions (
    rollout bigint NOT NULL,
    number bigint NOT NULL,
    at bigint NOT NULL,
    state_before text COLLATE "C" NOT NULL,
    state_after text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    actor_name text COLLATE "C" NOT NULL,
    counted bigint NOT NULL,
    begins_step bigint NOT NULL,
    sentence text COLLATE "C" NOT NULL,
    grounds text COLLATE "C",
    PRIMARY KEY (rollout, number)
);

CREATE FUNCTION rollout_transitions_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'transitions of rollouts only grow';
END
$$;

CREATE TRIGGER rollout_transitions_are_not_changed BEFORE UPDATE ON rollout_transitions
FOR EACH ROW EXECUTE FUNCTION rollout_transitions_refuse();

CREATE TRIGGER rollout_transitions_are_not_shortened BEFORE DELETE ON rollout_transitions
FOR EACH ROW EXECUTE FUNCTION rollout_transitions_refuse();

CREATE TRIGGER rollout_transitions_are_not_emptied BEFORE TRUNCATE ON rollout_transitions
FOR EACH STATEMENT EXECUTE FUNCTION rollout_transitions_refuse();

CREATE TABLE rollout_batches (
    rollout bigint NOT NULL,
    sequence bigint NOT NULL,
    stratum text COLLATE "C" NOT NULL,
    document text COLLATE "C" NOT NULL,
    PRIMARY KEY (rollout, sequence, stratum)
);
