-- Who changed what. The records of one owner (a partner, or OPERATOR: the installation) are numbered without a gap: a
-- number is taken in the transaction of the change, under a lock on the owner's row here.
CREATE TABLE audit_heads (
    partner_id VARCHAR(36) NOT NULL,
    number BIGINT NOT NULL DEFAULT 0,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id)
);
-- Records are never changed. Retention deletes the oldest (records.audit_retention). about: the partner that a record of the
-- installation concerns. before_json and after_json hold members of an allow-list, and no secret.
CREATE TABLE audit_records (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    number BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    actor_kind VARCHAR(16) NOT NULL,
    actor_id VARCHAR(64) NOT NULL,
    actor_name VARCHAR(255) NOT NULL,
    action VARCHAR(48) NOT NULL,
    subject_id VARCHAR(255) NOT NULL,
    about VARCHAR(36) NOT NULL,
    before_json LONGTEXT NOT NULL,
    after_json LONGTEXT NOT NULL,
    address VARCHAR(64) NOT NULL,
    door VARCHAR(16) NOT NULL,
    request_id VARCHAR(36) NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE UNIQUE INDEX audit_records_by_number ON audit_records (partner_id, number);
CREATE INDEX audit_records_by_time ON audit_records (partner_id, created_at_ms, id);
CREATE INDEX audit_records_by_actor ON audit_records (partner_id, actor_id, created_at_ms, id);
CREATE INDEX audit_records_by_action ON audit_records (partner_id, action, created_at_ms, id);
CREATE INDEX audit_records_by_subject ON audit_records (partner_id, subject_id, created_at_ms, id);
CREATE INDEX audit_records_by_age ON audit_records (created_at_ms, id);
-- The person, or the first key, that made a key: who approves is compared with who asked, whichever key they use.
ALTER TABLE api_keys ADD COLUMN made_by VARCHAR(36);
-- Who asked for what a deployment wants, as of its upload: the uploader, or who made the uploader's key.
ALTER TABLE deployments ADD COLUMN asked_by VARCHAR(36);
