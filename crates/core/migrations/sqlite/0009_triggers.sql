-- What starts runs by itself.

-- When the next run of a schedule is due, and when a new commit is looked for next.
ALTER TABLE builder ADD COLUMN schedule_at BIGINT;
ALTER TABLE builder ADD COLUMN poll_at BIGINT;
-- Another secret of the webhook each time that this is counted up.
ALTER TABLE builder ADD COLUMN webhook_round BIGINT NOT NULL DEFAULT 0;
CREATE INDEX builder_schedule ON builder (schedule_at) WHERE schedule_at IS NOT NULL;
CREATE INDEX builder_poll ON builder (poll_at) WHERE poll_at IS NOT NULL;

-- Calls of forges; the newest of each builder are kept.
CREATE TABLE delivery (
  id INTEGER PRIMARY KEY NOT NULL,
  builder_id BIGINT NOT NULL REFERENCES builder (id) ON DELETE CASCADE,
  at BIGINT NOT NULL,
  -- github, gitlab, gitea or generic
  forge TEXT NOT NULL,
  event TEXT NOT NULL,
  -- What it says of a commit, as JSON; NULL where it was not signed or names none.
  change TEXT,
  reference TEXT NOT NULL DEFAULT '',
  commit_hash TEXT,
  -- The HTTP status that the forge heard.
  status BIGINT NOT NULL,
  message TEXT NOT NULL,
  run_id BIGINT REFERENCES run (id) ON DELETE SET NULL
);
CREATE INDEX delivery_builder ON delivery (builder_id, id);
CREATE INDEX delivery_run ON delivery (run_id) WHERE run_id IS NOT NULL;
