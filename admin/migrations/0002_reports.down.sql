DROP TABLE usage_count;
DROP TABLE report;
