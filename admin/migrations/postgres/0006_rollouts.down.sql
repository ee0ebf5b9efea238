DROP TABLE rollout_batches;
DROP TABLE rollout_transitions;
DROP FUNCTION rollout_transitions_refuse();
DROP TABLE rollouts;
