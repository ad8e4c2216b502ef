-- attributes: those of the envelope that have no column, dataschema and extensions, as a JSON object of texts. NULL if there are none.
ALTER TABLE events ADD COLUMN attributes LONGTEXT;
-- build_lost: how often a build was begun and came to no end, because its process died or the machine had no time for it.
ALTER TABLE deployments ADD COLUMN build_lost INT NOT NULL DEFAULT 0;
