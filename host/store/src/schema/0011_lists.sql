-- Indexes behind lists and look-ups that walked all rows of a table or of a partner.
CREATE INDEX api_keys_by_partner ON api_keys (partner_id, created_at_ms);
CREATE INDEX functions_by_retention ON functions (deployment_retention);
CREATE INDEX enrolments_by_time ON enrolments (partner_id, created_at_ms, id);
CREATE INDEX enrolments_by_function ON enrolments (partner_id, function_id, id);
CREATE INDEX enrolments_by_function_time ON enrolments (partner_id, function_id, created_at_ms, id);
CREATE INDEX enrolments_by_end_user ON enrolments (partner_id, end_user, created_at_ms, id);
CREATE INDEX fanouts_by_function ON fanouts (partner_id, function_id);
CREATE INDEX grant_changes_by_time ON grant_changes (partner_id, created_at_ms);
CREATE INDEX transactions_by_execution ON transactions (partner_id, execution_id);
CREATE INDEX events_by_age ON events (created_at_ms, row_id);
CREATE INDEX fanouts_by_age ON fanouts (created_at_ms, id);
CREATE INDEX fanouts_by_event ON fanouts (partner_id, event_row);
