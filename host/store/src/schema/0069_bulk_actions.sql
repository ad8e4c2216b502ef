-- What somebody asked to be done with many dead letters. The columns done and failed change in the transactions that change the
-- dead letters. An action is due while something of it is to be done.
CREATE TABLE bulk_actions (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    status VARCHAR(16) NOT NULL,
    is_open INT NOT NULL,
    function_id VARCHAR(36),
    reason VARCHAR(160),
    letters LONGTEXT,
    before_ms BIGINT NOT NULL,
    asked_by VARCHAR(36) NOT NULL,
    begins_at_ms BIGINT NOT NULL,
    due_at_ms BIGINT,
    held_back VARCHAR(500),
    expected BIGINT NOT NULL,
    done BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    cursor_at_ms BIGINT NOT NULL,
    cursor_id VARCHAR(36) NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE INDEX bulk_actions_open ON bulk_actions (partner_id, is_open);
CREATE INDEX bulk_actions_due ON bulk_actions (due_at_ms, partner_id);
CREATE INDEX bulk_actions_by_age ON bulk_actions (created_at_ms, id);
