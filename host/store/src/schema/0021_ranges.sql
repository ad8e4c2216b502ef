-- A fan-out is claimed in ranges of enrolments. status is running, paused, completed or cancelled. waiting is 1 while it is running, 2 while it
-- is paused, and 0 once it has ended.
ALTER TABLE fanouts ADD COLUMN status VARCHAR(16) NOT NULL DEFAULT 'running';
ALTER TABLE fanouts ADD COLUMN reason VARCHAR(255);
-- The number of enrolments, counted once.
ALTER TABLE fanouts ADD COLUMN expected BIGINT;
-- Every enrolment is in a range; the number of ranges so far.
ALTER TABLE fanouts ADD COLUMN claimed_all INT NOT NULL DEFAULT 0;
ALTER TABLE fanouts ADD COLUMN ranges INT NOT NULL DEFAULT 0;
-- It was paused because too many of its first runs failed. That happens once.
ALTER TABLE fanouts ADD COLUMN judged INT NOT NULL DEFAULT 0;
-- The runs of the ranges that are folded into this row: their rows are deleted when the fan-out ends.
ALTER TABLE fanouts ADD COLUMN done BIGINT NOT NULL DEFAULT 0;
ALTER TABLE fanouts ADD COLUMN failed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE fanouts ADD COLUMN conflicts BIGINT NOT NULL DEFAULT 0;
ALTER TABLE fanouts ADD COLUMN updated_at_ms BIGINT NOT NULL DEFAULT 0;
UPDATE fanouts SET status = 'completed' WHERE waiting = 0 AND status = 'running';
CREATE INDEX fanouts_by_time ON fanouts (partner_id, created_at_ms, id);
-- Enrolments behind after_id, up to until_id. What is committed moves after_id on; lost counts the claims since that committed nothing.
-- due_at_ms is the end of the lease, NULL once all are committed.
CREATE TABLE fanout_ranges (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    fanout_id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    ordinal INT NOT NULL,
    after_id VARCHAR(36) NOT NULL,
    until_id VARCHAR(36) NOT NULL,
    holder VARCHAR(36) NOT NULL,
    attempt INT NOT NULL,
    lost INT NOT NULL,
    due_at_ms BIGINT,
    done BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    conflicts BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE INDEX fanout_ranges_by_fanout ON fanout_ranges (partner_id, fanout_id, due_at_ms);
CREATE INDEX fanout_ranges_by_function ON fanout_ranges (partner_id, function_id);
CREATE INDEX fanout_ranges_by_holder ON fanout_ranges (holder);
