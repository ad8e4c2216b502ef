-- People who sign in. email is in its canonical form. password_hash is a PHC string of argon2id. sealed_totp is the secret of the second
-- factor, NULL without one: who has one cannot sign in by password alone.
CREATE TABLE administrators (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    email VARCHAR(254) NOT NULL,
    name VARCHAR(128) NOT NULL,
    password_hash VARCHAR(255) NOT NULL,
    email_verified_at_ms BIGINT,
    sealed_totp LONGBLOB,
    password_at_ms BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);
CREATE UNIQUE INDEX administrators_emails ON administrators (email);
-- What they are in which partner; partner_id is empty for the installation.
CREATE TABLE administrator_roles (
    administrator_id VARCHAR(36) NOT NULL,
    partner_id VARCHAR(36) NOT NULL,
    role VARCHAR(16) NOT NULL,
    PRIMARY KEY (administrator_id, partner_id)
);
CREATE INDEX administrator_roles_by_partner ON administrator_roles (partner_id, administrator_id);
