-- Domains of partners' own. name is the domain that a rule is for. domain equals it once the partner has proved it, and until
-- then it is PARTNER/RULE, which is no host: so a domain belongs to whoever has proved it, and a claim holds up nobody.
-- check_due_at_ms: when its proof is looked for next; of a domain that needs none, nothing.
ALTER TABLE rules ADD COLUMN name VARCHAR(253) NOT NULL DEFAULT '';
ALTER TABLE rules ADD COLUMN check_due_at_ms BIGINT;
ALTER TABLE rules ADD COLUMN checked_at_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE rules ADD COLUMN lost_at_ms BIGINT;
ALTER TABLE rules ADD COLUMN why LONGTEXT NOT NULL DEFAULT '';
UPDATE rules SET name = domain WHERE name = '';
CREATE INDEX rules_names ON rules (partner_id, name);
CREATE INDEX rules_checks ON rules (check_due_at_ms);
