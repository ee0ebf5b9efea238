DROP TABLE remembered;
DROP TABLE tokens;
