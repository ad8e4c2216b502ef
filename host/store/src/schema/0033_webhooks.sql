-- Where a partner wants to be told of events. sealed has the secret and the password, which are never told again.
CREATE TABLE webhooks (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    name VARCHAR(128) NOT NULL,
    url LONGTEXT NOT NULL,
    events LONGTEXT NOT NULL,
    enabled INT NOT NULL,
    tls INT NOT NULL,
    auth_username VARCHAR(256) NOT NULL,
    sealed LONGBLOB NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
