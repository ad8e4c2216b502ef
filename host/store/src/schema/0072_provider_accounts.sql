-- Who signs in at the operator's provider, by the SHA-256 of its issuer and of what it calls the person (`sub`).
CREATE TABLE provider_accounts (
    subject_hash     VARCHAR(64) NOT NULL,
    administrator_id VARCHAR(36) NOT NULL,
    created_at_ms    BIGINT      NOT NULL,
    PRIMARY KEY (subject_hash)
);
CREATE UNIQUE INDEX provider_accounts_by_administrator ON provider_accounts (administrator_id);
