-- One set of tables for both databases; statements end with a semicolon at the end of a line, because MariaDB commits each on its own.
-- Every table of a partner's has the partner in front of its key.
CREATE TABLE partners (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    name VARCHAR(128) NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);
CREATE TABLE api_keys (
    id VARCHAR(36) NOT NULL PRIMARY KEY,
    partner_id VARCHAR(36) NOT NULL,
    name VARCHAR(128) NOT NULL,
    secret_hash CHAR(64) NOT NULL,
    scopes LONGTEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT
);
CREATE TABLE functions (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    name VARCHAR(128) NOT NULL,
    runtime VARCHAR(64) NOT NULL,
    execute_roles LONGTEXT NOT NULL,
    events LONGTEXT NOT NULL,
    schedule VARCHAR(255) NOT NULL,
    timezone VARCHAR(64) NOT NULL,
    timeout_s INT NOT NULL,
    enabled INT NOT NULL,
    logging INT NOT NULL,
    entrypoint LONGTEXT NOT NULL,
    commands LONGTEXT NOT NULL,
    scopes LONGTEXT NOT NULL,
    specification VARCHAR(64) NOT NULL,
    deployment_retention INT NOT NULL,
    per VARCHAR(16) NOT NULL,
    topics VARCHAR(16) NOT NULL,
    routes LONGTEXT NOT NULL,
    limits LONGTEXT NOT NULL,
    deployment_id VARCHAR(36),
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE TABLE deployments (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    status VARCHAR(16) NOT NULL,
    activate INT NOT NULL,
    kind VARCHAR(16) NOT NULL,
    entrypoint LONGTEXT NOT NULL,
    digest CHAR(64) NOT NULL,
    source_bytes BIGINT NOT NULL,
    build_bytes BIGINT NOT NULL,
    build_ms BIGINT NOT NULL,
    build_logs LONGTEXT NOT NULL,
    exports LONGTEXT,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE INDEX deployments_by_function ON deployments (partner_id, function_id, created_at_ms);
CREATE INDEX deployments_by_status ON deployments (status);
CREATE TABLE variables (
    partner_id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    name VARCHAR(255) NOT NULL,
    sealed LONGBLOB NOT NULL,
    secret INT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, function_id, id)
);
CREATE UNIQUE INDEX variables_by_name ON variables (partner_id, function_id, name);
CREATE TABLE schedules (
    partner_id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    next_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, function_id)
);
CREATE INDEX schedules_by_time ON schedules (next_at_ms);
CREATE TABLE enrolments (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    end_user VARCHAR(128) NOT NULL,
    topic VARCHAR(255) NOT NULL,
    settings LONGTEXT NOT NULL,
    status VARCHAR(16) NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE UNIQUE INDEX enrolments_by_user ON enrolments (partner_id, function_id, end_user, topic);
CREATE INDEX enrolments_by_topic ON enrolments (partner_id, function_id, topic, id);
CREATE TABLE events (
    partner_id VARCHAR(36) NOT NULL,
    row_id VARCHAR(36) NOT NULL,
    dedup_key CHAR(64) NOT NULL,
    id VARCHAR(255) NOT NULL,
    source VARCHAR(1024) NOT NULL,
    kind VARCHAR(255) NOT NULL,
    subject VARCHAR(255),
    time VARCHAR(64) NOT NULL,
    data_content_type VARCHAR(255) NOT NULL,
    data LONGBLOB NOT NULL,
    depth INT NOT NULL,
    waiting INT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, row_id)
);
CREATE UNIQUE INDEX events_by_key ON events (partner_id, dedup_key);
CREATE INDEX events_waiting ON events (waiting, created_at_ms);
CREATE TABLE fanouts (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    trigger_key CHAR(64) NOT NULL,
    trigger_kind VARCHAR(16) NOT NULL,
    event_row VARCHAR(36),
    nominal_at_ms BIGINT,
    late_ms BIGINT,
    topic VARCHAR(255),
    cursor_id VARCHAR(36) NOT NULL,
    waiting INT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE UNIQUE INDEX fanouts_by_key ON fanouts (partner_id, trigger_key);
CREATE INDEX fanouts_waiting ON fanouts (waiting, created_at_ms);
-- due_at_ms is when an execution may next be claimed: its time while it waits, the end of its lease while it runs, NULL once it ended.
CREATE TABLE executions (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    deployment_id VARCHAR(36),
    trigger_kind VARCHAR(16) NOT NULL,
    status VARCHAR(16) NOT NULL,
    trigger_key CHAR(64),
    event_row VARCHAR(36),
    enrolment_id VARCHAR(36),
    nominal_at_ms BIGINT,
    late_ms BIGINT,
    scheduled_at_ms BIGINT,
    request LONGTEXT NOT NULL,
    body LONGBLOB,
    attempt INT NOT NULL,
    due_at_ms BIGINT,
    lease_holder VARCHAR(36),
    response_status INT NOT NULL,
    response_headers LONGTEXT NOT NULL,
    logs LONGTEXT NOT NULL,
    errors LONGTEXT NOT NULL,
    wall_us BIGINT NOT NULL,
    cpu_us BIGINT NOT NULL,
    memory_peak_bytes BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE UNIQUE INDEX executions_by_key ON executions (partner_id, trigger_key);
CREATE INDEX executions_by_function ON executions (partner_id, function_id, created_at_ms, id);
CREATE INDEX executions_due ON executions (due_at_ms, updated_at_ms);
CREATE INDEX executions_by_holder ON executions (lease_holder);
CREATE TABLE transactions (
    partner_id VARCHAR(36) NOT NULL,
    id VARCHAR(48) NOT NULL,
    execution_id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    enrolment_id VARCHAR(36),
    end_user VARCHAR(128) NOT NULL,
    amount_minor BIGINT NOT NULL,
    currency CHAR(3) NOT NULL,
    memo VARCHAR(200),
    created_at_ms BIGINT NOT NULL,
    PRIMARY KEY (partner_id, id)
);
CREATE INDEX transactions_by_function ON transactions (partner_id, function_id, created_at_ms);
CREATE INDEX transactions_by_user ON transactions (partner_id, end_user, created_at_ms);
CREATE INDEX transactions_by_time ON transactions (partner_id, created_at_ms);
-- version is the execution that wrote the value: two writes never share one. enrolment_id is empty for the function's own state.
CREATE TABLE state (
    partner_id VARCHAR(36) NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    enrolment_id VARCHAR(36) NOT NULL,
    name VARCHAR(255) NOT NULL,
    value LONGBLOB NOT NULL,
    version VARCHAR(36) NOT NULL,
    PRIMARY KEY (partner_id, function_id, enrolment_id, name)
);
