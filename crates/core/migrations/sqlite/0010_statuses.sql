-- What forges are told of runs.

-- A token of the forge, sealed with the master key.
ALTER TABLE builder ADD COLUMN status_token BLOB;
-- The state that the forge knows; how often it could not be told since, and when to try again.
ALTER TABLE run ADD COLUMN told_state TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN told_tries BIGINT NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN tell_at BIGINT NOT NULL DEFAULT 0;
