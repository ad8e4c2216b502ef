-- Sessions of administrators. secret_hash is the SHA-256 of the token. A session ends at ends_at_ms, which each use moves on, and at
-- expires_at_ms at the latest.
CREATE TABLE sessions (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    administrator_id VARCHAR(36) NOT NULL,
    secret_hash CHAR(64) NOT NULL,
    address VARCHAR(45) NOT NULL,
    agent VARCHAR(255) NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    ends_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);
CREATE INDEX sessions_by_administrator ON sessions (administrator_id, created_at_ms, id);
CREATE INDEX sessions_by_end ON sessions (ends_at_ms);
