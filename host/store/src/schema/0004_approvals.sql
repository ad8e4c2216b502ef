-- grants: what the upload asks for, as JSON; NULL: it was uploaded without. uploader and approved_by are keys.
ALTER TABLE deployments ADD COLUMN grants LONGTEXT;
ALTER TABLE deployments ADD COLUMN uploader VARCHAR(36);
ALTER TABLE deployments ADD COLUMN approved_by VARCHAR(36);
ALTER TABLE deployments ADD COLUMN approved_at_ms BIGINT;
-- 1: grants that an upload widens are approved by another key than the one that uploaded it.
ALTER TABLE partners ADD COLUMN approval_by_another INT NOT NULL DEFAULT 0;
-- Who changed or approved what. It outlives keys, deployments and functions, for the auditors.
CREATE TABLE grant_changes (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    deployment_id VARCHAR(36),
    key_id VARCHAR(36),
    old_grants LONGTEXT NOT NULL,
    new_grants LONGTEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE INDEX grant_changes_by_function ON grant_changes (partner_id, function_id, created_at_ms);
-- What a function saved for an end user within a period, read from the index alone.
CREATE INDEX transactions_by_saver ON transactions (partner_id, function_id, end_user, currency, created_at_ms, amount_minor);
