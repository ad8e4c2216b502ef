-- totp_step is the last step of the second factor that was used: no code counts twice. Recovery codes stand in for it, each once.
-- code_hash is their SHA-256. They go with their administrator, or with the second factor.
ALTER TABLE administrators ADD COLUMN totp_step BIGINT NOT NULL DEFAULT 0;
CREATE TABLE recovery_codes (
    administrator_id VARCHAR(36) NOT NULL,
    code_hash CHAR(64) NOT NULL,
    PRIMARY KEY (administrator_id, code_hash)
);
