-- What names in grants lead to is approved with them. Another value of a revision is another credential, or another key or value of
-- a variable; empty: it was not changed since this column is there.
ALTER TABLE upstreams ADD COLUMN secret_revision VARCHAR(36) NOT NULL DEFAULT '';
ALTER TABLE variables ADD COLUMN revision VARCHAR(36) NOT NULL DEFAULT '';
ALTER TABLE feeds ADD COLUMN lead LONGTEXT;
-- What happened to what a name leads to. The function of such a line is empty if it concerns none.
ALTER TABLE grant_changes ADD COLUMN note LONGTEXT;
