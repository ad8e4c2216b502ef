-- The time of all runs of a pack. 0: it was written before this column was there.
ALTER TABLE execution_packs ADD COLUMN wall_us BIGINT NOT NULL DEFAULT 0;
