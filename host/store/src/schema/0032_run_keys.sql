-- Keys of runs in progress, so that every process knows them. One of a run that has ended is gone; one whose process died goes with
-- its age.
CREATE TABLE run_keys (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    secret_hash CHAR(64) NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE INDEX run_keys_by_time ON run_keys (created_at_ms, id);
