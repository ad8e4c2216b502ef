-- An upload may be an archive: format says so. digest is that of the component in it, once the build has found it; source_digest that of the
-- archive. NULL: the upload is the component. component_bytes: of a component that is stored beside its archive.
ALTER TABLE deployments ADD COLUMN format VARCHAR(16) NOT NULL DEFAULT 'wasm';
ALTER TABLE deployments ADD COLUMN source_digest CHAR(64);
ALTER TABLE deployments ADD COLUMN component_bytes BIGINT NOT NULL DEFAULT 0;
CREATE INDEX deployments_by_source ON deployments (source_digest);
