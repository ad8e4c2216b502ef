-- The records of successful runs of a fan-out, many in one row: see the module packs. All of them are completed, and have what the columns
-- name in common. records holds the rest of each; text_bytes counts their logs and errors.
CREATE TABLE execution_packs (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    deployment_id VARCHAR(36),
    trigger_kind VARCHAR(16) NOT NULL,
    event_row VARCHAR(36),
    nominal_at_ms BIGINT,
    late_ms BIGINT,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    runs INT NOT NULL,
    first_id VARCHAR(36) NOT NULL,
    last_id VARCHAR(36) NOT NULL,
    first_enrolment_id VARCHAR(36) NOT NULL,
    last_enrolment_id VARCHAR(36) NOT NULL,
    text_bytes BIGINT NOT NULL,
    records LONGBLOB NOT NULL,
    PRIMARY KEY (partner_id, id)
);
-- In the order of lists, with what tells whether a pack can have an enrolment.
CREATE INDEX execution_packs_by_function ON execution_packs (partner_id, function_id, created_at_ms, id, first_enrolment_id, last_enrolment_id);
CREATE INDEX execution_packs_by_id ON execution_packs (partner_id, function_id, last_id, first_id);
CREATE INDEX execution_packs_by_event ON execution_packs (partner_id, event_row);
CREATE INDEX execution_packs_by_time ON execution_packs (created_at_ms, id);
