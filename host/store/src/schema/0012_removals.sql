-- What was deleted and whose rows are still there: they go batch by batch. kind: function or enrolment. Of a function, function_id and id are the same.
CREATE TABLE removals (
    partner_id VARCHAR(36) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, kind, id)
);
CREATE INDEX removals_by_time ON removals (created_at_ms);
