-- Failed attempts to sign in, by account and by address. id is a hash of either, so that the table tells nobody's address.
CREATE TABLE sign_in_failures (
    id CHAR(64) NOT NULL PRIMARY KEY,
    failures INT NOT NULL,
    until_ms BIGINT NOT NULL,
    at_ms BIGINT NOT NULL
);
CREATE INDEX sign_in_failures_by_time ON sign_in_failures (at_ms);
