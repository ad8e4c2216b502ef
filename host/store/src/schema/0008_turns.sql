-- Partners take turns at the queues: whose turn it is, and what of theirs, is read from these alone.
CREATE INDEX executions_by_status ON executions (partner_id, status, due_at_ms);
CREATE INDEX events_by_waiting ON events (waiting, partner_id, created_at_ms);
CREATE INDEX fanouts_by_waiting ON fanouts (waiting, partner_id, created_at_ms);
CREATE INDEX schedules_by_partner ON schedules (partner_id, next_at_ms);
-- What caused an event in the first place: NULL for one from outside, which is it itself.
ALTER TABLE events ADD COLUMN root VARCHAR(64);
-- How many events each cause has led to, over all generations.
CREATE TABLE event_roots (
    partner_id VARCHAR(36) NOT NULL,
    root VARCHAR(64) NOT NULL,
    emitted BIGINT NOT NULL DEFAULT 0,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, root)
);
CREATE INDEX event_roots_by_size ON event_roots (partner_id, emitted);
CREATE INDEX event_roots_by_time ON event_roots (updated_at_ms);
