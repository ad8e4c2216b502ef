-- What happened for one end user: lists of executions filtered by enrolment.
CREATE INDEX executions_by_enrolment ON executions (partner_id, enrolment_id, created_at_ms);
