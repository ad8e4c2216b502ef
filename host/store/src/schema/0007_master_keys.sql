-- The master key that seals, by its id, and when values were last rewrapped: one row.
CREATE TABLE sealing_key (
    one INT NOT NULL PRIMARY KEY,
    key_id CHAR(16) NOT NULL,
    since_ms BIGINT NOT NULL,
    rewrapped_at_ms BIGINT NOT NULL
);
-- Which master keys each process knows, as JSON, and with which it seals. One that was not seen for a while is gone.
CREATE TABLE processes (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    known LONGTEXT NOT NULL,
    sealing CHAR(16) NOT NULL,
    sealing_since_ms BIGINT NOT NULL,
    seen_at_ms BIGINT NOT NULL
);
-- Keys that outlast every master key, sealed.
CREATE TABLE installation_keys (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    sealed LONGBLOB NOT NULL,
    created_at_ms BIGINT NOT NULL
);
