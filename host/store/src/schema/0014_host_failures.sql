-- Since when an execution has failed through the host's fault alone, try after try.
ALTER TABLE executions ADD COLUMN host_failing_since_ms BIGINT;
-- The last commit of each process's ledger, so that one whose answer was lost can be looked up.
CREATE TABLE ledger_commits (
    process_id VARCHAR(36) NOT NULL PRIMARY KEY,
    mark CHAR(32) NOT NULL,
    committed_at_ms BIGINT NOT NULL
);
-- How many keys a partner has.
CREATE INDEX idempotency_keys_by_partner ON idempotency_keys (partner_id, created_at_ms);
