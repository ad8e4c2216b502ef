-- How the end users of a partner prove who they are. One row a partner.
CREATE TABLE identities (
    partner_id VARCHAR(36) NOT NULL PRIMARY KEY,
    settings LONGTEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);
-- The keys of the partner's issuer as they were last fetched, for processes that start while they cannot be fetched. One row a
-- partner; it goes with the settings.
CREATE TABLE identity_keys (
    partner_id VARCHAR(36) NOT NULL PRIMARY KEY,
    jwks_url VARCHAR(1024) NOT NULL,
    document LONGTEXT NOT NULL,
    fetched_at_ms BIGINT NOT NULL
);
