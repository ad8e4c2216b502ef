-- Who may enrol end users (partner or self), the topics that end users may choose (JSON), and what settings must be (JSON Schema).
ALTER TABLE functions ADD COLUMN enrol VARCHAR(16) NOT NULL DEFAULT 'partner';
ALTER TABLE functions ADD COLUMN enrol_topics LONGTEXT NOT NULL DEFAULT '[]';
ALTER TABLE functions ADD COLUMN settings_schema LONGTEXT NOT NULL DEFAULT '{}';
-- Who has paused it: partner or self; empty unless it is paused, and of one that was paused before this column was there.
ALTER TABLE enrolments ADD COLUMN paused_by VARCHAR(8) NOT NULL DEFAULT '';
