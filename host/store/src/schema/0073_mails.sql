-- Letters to people who sign in. Whoever sends one moves due_at_ms on first, so that nobody else does meanwhile.
-- sealed_letter goes once the letter is sent or given up.
CREATE TABLE mails (
    id               VARCHAR(36)  NOT NULL,
    administrator_id VARCHAR(36)  NOT NULL,
    kind             VARCHAR(16)  NOT NULL,
    recipient        VARCHAR(254) NOT NULL,
    sealed_letter    LONGBLOB,
    status           VARCHAR(16)  NOT NULL,
    attempts         BIGINT       NOT NULL,
    error            VARCHAR(500) NOT NULL,
    due_at_ms        BIGINT       NOT NULL,
    expires_at_ms    BIGINT       NOT NULL,
    created_at_ms    BIGINT       NOT NULL,
    updated_at_ms    BIGINT       NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX mails_due ON mails (status, due_at_ms);
CREATE INDEX mails_by_recipient ON mails (recipient, created_at_ms);
CREATE INDEX mails_by_administrator ON mails (administrator_id);
CREATE INDEX mails_by_age ON mails (created_at_ms, id);
