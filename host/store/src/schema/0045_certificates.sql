-- Names that need a certificate, and when they are next asked for. A process asks under a lease. attempt grows with each claim.
CREATE TABLE certificate_orders (
    name VARCHAR(253) NOT NULL PRIMARY KEY,
    due_at_ms BIGINT NOT NULL,
    failures INT NOT NULL,
    error LONGTEXT NOT NULL,
    holder VARCHAR(36) NOT NULL,
    attempt BIGINT NOT NULL,
    lease_until_ms BIGINT NOT NULL
);
CREATE INDEX certificate_orders_due ON certificate_orders (due_at_ms);
-- The newest certificate of a name: its chain in PEM, and its private key.
CREATE TABLE certificates (
    name VARCHAR(253) NOT NULL PRIMARY KEY,
    chain LONGTEXT NOT NULL,
    sealed_key LONGBLOB NOT NULL,
    not_before_ms BIGINT NOT NULL,
    not_after_ms BIGINT NOT NULL,
    changed_at_ms BIGINT NOT NULL
);
CREATE INDEX certificates_changed ON certificates (changed_at_ms);
-- The account of the installation at each authority.
CREATE TABLE acme_accounts (
    directory VARCHAR(255) NOT NULL PRIMARY KEY,
    sealed_credentials LONGBLOB NOT NULL,
    created_at_ms BIGINT NOT NULL
);
-- What an authority is answered when it asks whether a name is ours. They go when their order has ended, or by their age.
CREATE TABLE acme_challenges (
    name VARCHAR(253) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    token VARCHAR(255) NOT NULL,
    answer LONGTEXT NOT NULL,
    expires_at_ms BIGINT NOT NULL,
    PRIMARY KEY (name, kind, token)
);
