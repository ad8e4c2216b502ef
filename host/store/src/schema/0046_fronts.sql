-- The authority that gives the certificates of fronts: its own certificate in PEM, and its private key. There is one row.
CREATE TABLE front_authorities (
    name VARCHAR(16) NOT NULL PRIMARY KEY,
    certificate LONGTEXT NOT NULL,
    sealed_key LONGBLOB NOT NULL,
    created_at_ms BIGINT NOT NULL
);
-- Fronts that may connect, at most 64, by their public keys. An operator removes them.
CREATE TABLE fronts (
    name VARCHAR(63) NOT NULL PRIMARY KEY,
    key_hash CHAR(64) NOT NULL,
    names LONGTEXT NOT NULL,
    not_after_ms BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL
);
