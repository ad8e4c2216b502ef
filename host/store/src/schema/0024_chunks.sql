-- An upload may come in chunks. uploading: some are missing, so it is not built yet. A deployment whose source_digest is 64 zeros has all of
-- them, and its build puts them together.
ALTER TABLE deployments ADD COLUMN uploading INT NOT NULL DEFAULT 0;
CREATE INDEX deployments_to_build ON deployments (uploading, status, partner_id, created_at_ms);
CREATE INDEX deployments_unfinished ON deployments (uploading, updated_at_ms);
CREATE TABLE upload_chunks (
    partner_id VARCHAR(36) NOT NULL,
    deployment_id VARCHAR(36) NOT NULL,
    ordinal INT NOT NULL,
    function_id VARCHAR(36) NOT NULL,
    digest CHAR(64) NOT NULL,
    PRIMARY KEY (partner_id, deployment_id, ordinal)
);
CREATE INDEX upload_chunks_by_function ON upload_chunks (partner_id, function_id);
CREATE INDEX upload_chunks_by_digest ON upload_chunks (digest);
