-- Looks at repositories that somebody is about to make a builder of. They are forgotten after minutes.
CREATE TABLE probe (
  id INTEGER PRIMARY KEY NOT NULL,
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  -- What is to be looked at, sealed with the master key: there may be a credential in it.
  task BLOB NOT NULL,
  -- The node that does it.
  node_id BIGINT,
  -- JSON.
  answer TEXT,
  created_at BIGINT NOT NULL
);
CREATE INDEX probe_cache ON probe (cache_id);
