-- Lists of events of one type, the newest first.
CREATE INDEX events_by_type ON events (partner_id, kind, row_id);
