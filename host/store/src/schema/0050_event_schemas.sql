-- What the data of events that a function takes or emits must be: JSON, type of the event → JSON Schema, and whether events are checked.
ALTER TABLE functions ADD COLUMN event_schemas LONGTEXT NOT NULL DEFAULT '{}';
