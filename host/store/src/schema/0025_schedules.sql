-- The nominal time that a schedule fired last, since it was armed.
ALTER TABLE schedules ADD COLUMN previous_at_ms BIGINT;
