-- Lists of a function's executions by what happened, in the order in which they are shown. Without these each row of the
-- function was read.
CREATE INDEX executions_by_answer ON executions (partner_id, function_id, response_status, created_at_ms, id);
CREATE INDEX executions_by_deployment ON executions (partner_id, function_id, deployment_id, created_at_ms, id);
CREATE INDEX executions_by_duration ON executions (partner_id, function_id, wall_us, created_at_ms, id);
CREATE INDEX executions_by_trigger ON executions (partner_id, function_id, trigger_kind, created_at_ms, id);
CREATE INDEX executions_by_update ON executions (partner_id, function_id, updated_at_ms, created_at_ms, id);
