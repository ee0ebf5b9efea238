DROP TABLE latest_publications;
DROP TABLE publications;
DROP TABLE environment_keys;
