-- What each partner stores, as it was last counted.
CREATE TABLE stored_bytes (
    partner_id VARCHAR(36) NOT NULL PRIMARY KEY,
    bytes BIGINT NOT NULL,
    counted_at_ms BIGINT NOT NULL
);
