DROP TABLE rollout_batches;
DROP TABLE rollout_transitions;
DROP TABLE rollouts;
