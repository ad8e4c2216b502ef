-- Outside services whose items become events. partner_id is empty for those of the operator. attempt counts claims and changes. due_at_ms is when a feed is polled next, while it is polled the end of that lease, NULL for one that is only pushed.
CREATE TABLE feeds (
    partner_id VARCHAR(36) NOT NULL,
    name VARCHAR(63) NOT NULL,
    settings LONGTEXT NOT NULL,
    sealed LONGBLOB,
    attempt BIGINT NOT NULL,
    lease_holder VARCHAR(36),
    next_cursor LONGTEXT,
    etag LONGTEXT,
    due_at_ms BIGINT,
    good_at_ms BIGINT,
    newest_at_ms BIGINT,
    failures INT NOT NULL,
    error LONGTEXT,
    items BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    last_refused LONGTEXT,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, name)
);
CREATE INDEX feeds_due ON feeds (due_at_ms);
