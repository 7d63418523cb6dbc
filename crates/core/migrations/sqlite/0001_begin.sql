-- Times are Unix milliseconds. `path_count` and `stored_bytes` are kept by the push transaction, so that no page counts rows.

CREATE TABLE setting (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL);

-- One row: raised by every change that running servers hold in memory (caches, keys, tokens, settings).
CREATE TABLE generation (id BIGINT PRIMARY KEY NOT NULL, value BIGINT NOT NULL);
INSERT INTO generation (id, value) VALUES (1, 1);

CREATE TABLE account (
  id INTEGER PRIMARY KEY NOT NULL,
  name TEXT NOT NULL UNIQUE,
  password_hash TEXT NOT NULL,
  is_admin BOOLEAN NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE session (
  id INTEGER PRIMARY KEY NOT NULL,
  account_id BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
  secret_hash BLOB NOT NULL UNIQUE,
  created_at BIGINT NOT NULL,
  last_seen_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  address TEXT NOT NULL,
  agent TEXT NOT NULL
);
CREATE INDEX session_account ON session (account_id);

CREATE TABLE setup_link (secret_hash BLOB PRIMARY KEY NOT NULL, expires_at BIGINT NOT NULL);

CREATE TABLE cache (
  id INTEGER PRIMARY KEY NOT NULL,
  name TEXT NOT NULL UNIQUE,
  is_public BOOLEAN NOT NULL,
  priority BIGINT NOT NULL,
  compression TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  path_count BIGINT NOT NULL DEFAULT 0,
  stored_bytes BIGINT NOT NULL DEFAULT 0,
  last_push_at BIGINT
);

CREATE TABLE signing_key (
  id INTEGER PRIMARY KEY NOT NULL,
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  public_key BLOB NOT NULL,
  sealed_seed BLOB NOT NULL,
  created_at BIGINT NOT NULL,
  UNIQUE (cache_id, name)
);

CREATE TABLE token (
  id INTEGER PRIMARY KEY NOT NULL,
  name TEXT NOT NULL,
  prefix TEXT NOT NULL,
  secret_hash BLOB NOT NULL UNIQUE,
  cache_id BIGINT REFERENCES cache (id) ON DELETE CASCADE,
  scope TEXT NOT NULL,
  account_id BIGINT REFERENCES account (id) ON DELETE CASCADE,
  created_at BIGINT NOT NULL,
  expires_at BIGINT,
  last_used_at BIGINT,
  revoked_at BIGINT
);

-- A NAR as one file of the store. Shared by all caches; a file is needed as long as a store_path or a put_nar names it.
CREATE TABLE nar (
  id INTEGER PRIMARY KEY NOT NULL,
  nar_hash BLOB NOT NULL,
  nar_size BIGINT NOT NULL,
  file_hash BLOB NOT NULL UNIQUE,
  file_size BIGINT NOT NULL,
  compression TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX nar_by_nar_hash ON nar (nar_hash);

-- The .ls document of a NAR, zstd-compressed; absent where it would be too large.
CREATE TABLE nar_listing (nar_id BIGINT PRIMARY KEY NOT NULL REFERENCES nar (id) ON DELETE CASCADE, listing BLOB NOT NULL);

CREATE TABLE store_path (
  id INTEGER PRIMARY KEY NOT NULL,
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  hash TEXT NOT NULL,
  name TEXT NOT NULL,
  nar_id BIGINT NOT NULL REFERENCES nar (id),
  nar_size BIGINT NOT NULL,
  file_size BIGINT NOT NULL,
  -- Base names with a blank between them, sorted.
  refs TEXT NOT NULL,
  deriver TEXT,
  ca TEXT,
  -- One name:base64 a line.
  signatures TEXT NOT NULL,
  pushed_at BIGINT NOT NULL,
  pushed_by TEXT NOT NULL,
  -- False while a reference has not arrived.
  is_visible BOOLEAN NOT NULL,
  last_pulled_at BIGINT,
  UNIQUE (cache_id, hash)
);
CREATE INDEX store_path_newest ON store_path (cache_id, pushed_at);
CREATE INDEX store_path_name ON store_path (cache_id, name);
CREATE INDEX store_path_largest ON store_path (cache_id, file_size);
CREATE INDEX store_path_nar ON store_path (nar_id, cache_id);

-- What a held path waits for.
CREATE TABLE awaited_reference (
  cache_id BIGINT NOT NULL,
  hash TEXT NOT NULL,
  path_id BIGINT NOT NULL REFERENCES store_path (id) ON DELETE CASCADE,
  PRIMARY KEY (cache_id, hash, path_id)
);
CREATE INDEX awaited_reference_path ON awaited_reference (path_id);

-- A multipart upload: the row stands before the first byte. `state` is open, done or aborted.
CREATE TABLE upload (
  id INTEGER PRIMARY KEY NOT NULL,
  public_id TEXT NOT NULL UNIQUE,
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  compression TEXT NOT NULL,
  pushed_by TEXT NOT NULL,
  state TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  touched_at BIGINT NOT NULL
);
CREATE INDEX upload_touched ON upload (touched_at);

CREATE TABLE upload_part (
  upload_id BIGINT NOT NULL REFERENCES upload (id) ON DELETE CASCADE,
  number BIGINT NOT NULL,
  size BIGINT NOT NULL,
  md5 BLOB NOT NULL,
  PRIMARY KEY (upload_id, number)
);

-- A NAR file that a client put by name and may publish in this cache by a narinfo. Once a narinfo was found to be true of
-- it, `compression` is set and it can be read: the client remembers its name even where the path shares an older file.
CREATE TABLE put_nar (
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  file_hash BLOB NOT NULL,
  file_size BIGINT NOT NULL,
  compression TEXT,
  touched_at BIGINT NOT NULL,
  PRIMARY KEY (cache_id, file_hash)
);
CREATE INDEX put_nar_touched ON put_nar (touched_at);

-- What was asked of a cache, by the hour (milliseconds of its beginning).
CREATE TABLE cache_activity (
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  hour BIGINT NOT NULL,
  narinfo_hits BIGINT NOT NULL,
  narinfo_misses BIGINT NOT NULL,
  nar_bytes BIGINT NOT NULL,
  pushed_paths BIGINT NOT NULL,
  PRIMARY KEY (cache_id, hour)
);

CREATE TABLE audit (
  id INTEGER PRIMARY KEY NOT NULL,
  at BIGINT NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  object TEXT NOT NULL,
  address TEXT NOT NULL
);
