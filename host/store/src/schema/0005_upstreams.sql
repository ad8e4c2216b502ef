-- Named outside services. partner_id is empty for those of the operator, which all partners share. origin and credential (its
-- kind) stand in settings too; the sealed text of the credential is bound to them.
CREATE TABLE upstreams (
    partner_id VARCHAR(36) NOT NULL,
    name VARCHAR(63) NOT NULL,
    origin VARCHAR(300) NOT NULL,
    credential VARCHAR(16) NOT NULL,
    settings LONGTEXT NOT NULL,
    sealed LONGBLOB,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, name)
);
