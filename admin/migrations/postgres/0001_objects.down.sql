DROP TABLE app_revisions;
DROP TABLE objects;
DROP TABLE counters;
