DROP TABLE usage_counters;
DROP TABLE edge_reports;
DROP TABLE rosters;
