-- Dead letters by what they were given up for. NULL: it is none, or an older process gave it up. Rows that are no dead letters
-- stand before all others in the index.
ALTER TABLE executions ADD COLUMN bury_reason VARCHAR(160);
CREATE INDEX executions_by_reason ON executions (partner_id, bury_reason, function_id, buried_at_ms, id);
