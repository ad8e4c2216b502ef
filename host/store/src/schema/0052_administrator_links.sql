-- Links that set a password or sign in, at most one of a kind for each person. secret_hash is the SHA-256 of the token. Retention deletes
-- them once they have expired.
CREATE TABLE administrator_links (
    secret_hash CHAR(64) NOT NULL PRIMARY KEY,
    administrator_id VARCHAR(36) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX administrator_links_by_administrator ON administrator_links (administrator_id, kind);
CREATE INDEX administrator_links_by_end ON administrator_links (expires_at_ms);
