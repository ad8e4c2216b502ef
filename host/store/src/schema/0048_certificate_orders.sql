-- Whose a name is that needs a certificate; empty: the installation's.
ALTER TABLE certificate_orders ADD COLUMN partner_id VARCHAR(36) NOT NULL DEFAULT '';
CREATE INDEX certificate_orders_busy ON certificate_orders (partner_id, lease_until_ms);
-- What was ordered for a partner's names, whatever became of it and of them. They go by age when the partner orders again.
CREATE TABLE certificates_ordered (
    partner_id VARCHAR(36) NOT NULL,
    at_ms BIGINT NOT NULL,
    id VARCHAR(36) NOT NULL,
    name VARCHAR(253) NOT NULL,
    PRIMARY KEY (partner_id, at_ms, id)
);
