-- Domains of functions. A domain belongs to one partner of the installation. kind, made_by and branch have one value each so far.
CREATE TABLE rules (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    domain VARCHAR(253) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    made_by VARCHAR(16) NOT NULL,
    resource_kind VARCHAR(16) NOT NULL,
    branch VARCHAR(255) NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE UNIQUE INDEX rules_domains ON rules (domain);
CREATE INDEX rules_by_function ON rules (partner_id, function_id);
