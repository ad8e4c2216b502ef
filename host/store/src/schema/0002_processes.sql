-- What several processes over one database need. version counts the changes of a partner and of everything that belongs to its snapshot.
ALTER TABLE partners ADD COLUMN version BIGINT NOT NULL DEFAULT 0;
-- failures: attempts that failed through the function's fault. lost: claims in a row that came to no outcome. buried_at_ms: when it was given up.
ALTER TABLE executions ADD COLUMN failures INT NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN lost INT NOT NULL DEFAULT 0;
ALTER TABLE executions ADD COLUMN buried_at_ms BIGINT;
CREATE INDEX executions_buried ON executions (partner_id, buried_at_ms);
CREATE INDEX executions_by_event ON executions (partner_id, event_row);
-- Who builds, and until when nobody else may.
ALTER TABLE deployments ADD COLUMN build_holder VARCHAR(36);
ALTER TABLE deployments ADD COLUMN build_until_ms BIGINT;
-- Until until_ms only this execution may change or depend on the state: it has lost too many races.
CREATE TABLE state_locks (
    partner_id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    enrolment_id VARCHAR(36) NOT NULL,
    execution_id VARCHAR(36) NOT NULL,
    until_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, function_id, enrolment_id)
);
CREATE INDEX deployments_by_digest ON deployments (digest);
-- request_hash is of method, path and body. subject is the id of what the request makes. status is NULL while the request is under way, until until_ms at most.
CREATE TABLE idempotency_keys (
    partner_id VARCHAR(36) NOT NULL,
    key_hash CHAR(64) NOT NULL,
    request_hash CHAR(64) NOT NULL,
    subject VARCHAR(36) NOT NULL,
    until_ms BIGINT NOT NULL,
    status INT,
    answer LONGTEXT,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, key_hash)
);
CREATE INDEX idempotency_keys_by_time ON idempotency_keys (created_at_ms);
