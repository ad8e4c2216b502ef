-- The grants in force, as JSON.
ALTER TABLE functions ADD COLUMN grants LONGTEXT NOT NULL DEFAULT '{}';
