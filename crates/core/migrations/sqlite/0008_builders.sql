-- Builders, their runs, and the nodes that execute them.

-- A program that executes runs. It asks; nothing asks it.
CREATE TABLE node (
  id INTEGER PRIMARY KEY NOT NULL,
  name TEXT NOT NULL UNIQUE,
  -- embedded or remote
  kind TEXT NOT NULL,
  secret_hash BLOB NOT NULL UNIQUE,
  -- Another one each time that it starts.
  epoch TEXT NOT NULL DEFAULT '',
  -- JSON arrays of text.
  systems TEXT NOT NULL DEFAULT '[]',
  features TEXT NOT NULL DEFAULT '[]',
  capacity BIGINT NOT NULL DEFAULT 0,
  is_draining BOOLEAN NOT NULL DEFAULT FALSE,
  version TEXT NOT NULL DEFAULT '',
  nix_version TEXT NOT NULL DEFAULT '',
  last_seen_at BIGINT,
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL
);

-- What of which repository is built into which cache.
CREATE TABLE builder (
  id INTEGER PRIMARY KEY NOT NULL,
  name TEXT NOT NULL UNIQUE,
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  -- JSON.
  spec TEXT NOT NULL,
  -- Sealed with the master key.
  credential BLOB,
  is_enabled BOOLEAN NOT NULL,
  -- Counts its changes.
  revision BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL
);
CREATE INDEX builder_cache ON builder (cache_id);

CREATE TABLE run (
  id INTEGER PRIMARY KEY NOT NULL,
  builder_id BIGINT NOT NULL REFERENCES builder (id) ON DELETE CASCADE,
  -- queued, starting, running, succeeded, failed, cancelled or timed_out
  state TEXT NOT NULL,
  -- manual, schedule, poll or webhook
  trigger TEXT NOT NULL,
  triggered_by TEXT NOT NULL,
  reference TEXT NOT NULL,
  commit_hash TEXT,
  subject TEXT NOT NULL DEFAULT '',
  priority BIGINT NOT NULL,
  -- Systems that its node must have, as a JSON array.
  systems TEXT NOT NULL,
  -- Whether derivations that failed before are built again.
  tries_again BOOLEAN NOT NULL,
  -- Two queued runs of a builder never have the same.
  dedupe TEXT,
  attempt BIGINT NOT NULL DEFAULT 0,
  node_id BIGINT REFERENCES node (id) ON DELETE SET NULL,
  node_name TEXT,
  -- Who has the run proves it with the lease; the token opens the cache for its pushes. Both go when the run is over.
  lease TEXT,
  lease_until BIGINT,
  token_hash BLOB UNIQUE,
  cancelled_by TEXT,
  -- Events of this attempt that were taken.
  next_event BIGINT NOT NULL DEFAULT 0,
  line_count BIGINT NOT NULL DEFAULT 0,
  queued_at BIGINT NOT NULL,
  started_at BIGINT,
  ended_at BIGINT,
  reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX run_builder ON run (builder_id, id);
CREATE INDEX run_open ON run (state, priority, id) WHERE state IN ('queued', 'starting', 'running');
CREATE UNIQUE INDEX run_dedupe ON run (builder_id, dedupe) WHERE state = 'queued';
CREATE INDEX run_node ON run (node_id) WHERE node_id IS NOT NULL;

CREATE TABLE run_derivation (
  run_id BIGINT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
  number BIGINT NOT NULL,
  -- Without the store's folder.
  drv TEXT NOT NULL,
  state TEXT NOT NULL,
  started_at BIGINT,
  ended_at BIGINT,
  reason TEXT NOT NULL,
  PRIMARY KEY (run_id, number)
);
CREATE INDEX run_derivation_failed ON run_derivation (drv) WHERE state = 'failed';

CREATE TABLE run_path (
  run_id BIGINT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
  path TEXT NOT NULL,
  nar_size BIGINT NOT NULL,
  PRIMARY KEY (run_id, path)
);

-- Lines as they came, some at a time: `derivation TAB text LF` each.
CREATE TABLE run_log (
  run_id BIGINT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
  first_line BIGINT NOT NULL,
  line_count BIGINT NOT NULL,
  lines BLOB NOT NULL,
  PRIMARY KEY (run_id, first_line)
);
