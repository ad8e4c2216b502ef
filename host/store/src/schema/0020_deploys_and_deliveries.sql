-- settings: what the upload asks of its function's settings, as JSON, from the moment on in which it becomes active; NULL: they stay as they are.
-- origin: the project that it was uploaded from, as the client tells it; NULL: it does not.
ALTER TABLE deployments ADD COLUMN settings LONGTEXT;
ALTER TABLE deployments ADD COLUMN origin VARCHAR(512);
