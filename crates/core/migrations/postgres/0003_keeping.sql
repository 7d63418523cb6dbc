-- What it takes to lose nothing and to keep nothing for ever.

-- Rules of a cache; NULL where there is none. A path goes when it was neither pushed nor needed by a push for `keep_pushed_days`,
-- when it was not used for `keep_used_days`, or when it is among the least recently used beyond `keep_bytes`. Of each pin the newest
-- `keep_revisions` stay. `most_bytes` and `most_upload_bytes` refuse pushes. `collected_since` is set while paths are being taken out.
ALTER TABLE cache ADD COLUMN keep_pushed_days BIGINT;
ALTER TABLE cache ADD COLUMN keep_used_days BIGINT;
ALTER TABLE cache ADD COLUMN keep_bytes BIGINT;
ALTER TABLE cache ADD COLUMN keep_revisions BIGINT;
ALTER TABLE cache ADD COLUMN most_bytes BIGINT;
ALTER TABLE cache ADD COLUMN most_upload_bytes BIGINT;
ALTER TABLE cache ADD COLUMN collected_since BIGINT;

-- A NAR whose file was found to be absent or not what it was; nobody gets it until a push brings it again.
ALTER TABLE nar ADD COLUMN damaged_at BIGINT;
ALTER TABLE nar ADD COLUMN damage TEXT;

-- Paths that were taken out together: by people (`deleted`) or by rules (`collected`). `state` is asked, running, done, failed or
-- undone. The numbers in `planned_…` are those of the preview, the others of what was done. `rules` is JSON.
CREATE TABLE removal (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  rules TEXT NOT NULL,
  asked_at BIGINT NOT NULL,
  asked_by TEXT NOT NULL,
  touched_at BIGINT NOT NULL,
  ended_at BIGINT,
  planned_paths BIGINT NOT NULL DEFAULT 0,
  planned_bytes BIGINT NOT NULL DEFAULT 0,
  paths BIGINT NOT NULL DEFAULT 0,
  bytes BIGINT NOT NULL DEFAULT 0,
  note TEXT NOT NULL DEFAULT ''
);
CREATE INDEX removal_cache ON removal (cache_id, asked_at);
CREATE INDEX removal_state ON removal (state);

-- Paths out of their cache, as whole rows that can be put back: `reason` is damaged, deleted or collected. A collected path's NAR can
-- still be read by its name until `until`; NULL is for ever.
CREATE TABLE set_aside (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  hash TEXT NOT NULL,
  name TEXT NOT NULL,
  nar_id BIGINT NOT NULL REFERENCES nar (id),
  nar_size BIGINT NOT NULL,
  file_size BIGINT NOT NULL,
  refs TEXT NOT NULL,
  deriver TEXT,
  ca TEXT,
  signatures TEXT NOT NULL,
  pushed_at BIGINT NOT NULL,
  pushed_by TEXT NOT NULL,
  last_pulled_at BIGINT,
  reason TEXT NOT NULL,
  why TEXT NOT NULL,
  removal_id BIGINT REFERENCES removal (id) ON DELETE SET NULL,
  since BIGINT NOT NULL,
  until BIGINT,
  UNIQUE (cache_id, hash)
);
CREATE INDEX set_aside_nar ON set_aside (nar_id, cache_id);
CREATE INDEX set_aside_until ON set_aside (until);
CREATE INDEX set_aside_removal ON set_aside (removal_id);

-- What pushes and pins came to need while a cache was collected, by hash part.
CREATE TABLE needed_meanwhile (
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  hash TEXT NOT NULL,
  PRIMARY KEY (cache_id, hash)
);

-- Files that nothing names, on their way out. A push that needs one again takes its row away; once `taken_at` is set it is being
-- removed, and a push waits.
CREATE TABLE dead_file (
  kind TEXT NOT NULL,
  file_hash BYTEA NOT NULL,
  file_size BIGINT NOT NULL,
  since BIGINT NOT NULL,
  taken_at BIGINT,
  PRIMARY KEY (kind, file_hash)
);
CREATE INDEX dead_file_since ON dead_file (since);

-- Whether a file is needed is asked by its hash alone.
CREATE INDEX put_nar_file ON put_nar (file_hash);
