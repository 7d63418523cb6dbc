-- What the clients of every protocol bring beside store paths.

-- `is_lenient`: a path is shown although references are missing. `client_filter_keys`: names of keys, a blank between them; attic
-- clients leave out what these signed. `removed_at`: the cache is gone for everybody, and its rows are removed bit by bit.
ALTER TABLE cache ADD COLUMN is_lenient BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE cache ADD COLUMN client_filter_keys TEXT NOT NULL DEFAULT '';
ALTER TABLE cache ADD COLUMN removed_at BIGINT;

-- A retired key signs nothing new. `resigned_after` is the last path that got this key's signature after the fact;
-- `resigned_at` says when all that were older than the key had it.
ALTER TABLE signing_key ADD COLUMN retired_at BIGINT;
ALTER TABLE signing_key ADD COLUMN resigned_after BIGINT NOT NULL DEFAULT 0;
ALTER TABLE signing_key ADD COLUMN resigned_at BIGINT;
UPDATE signing_key SET resigned_at = created_at;

-- The public key of people who sign on their own machines.
CREATE TABLE client_key (
  id INTEGER PRIMARY KEY NOT NULL,
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  public_key BLOB NOT NULL,
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  UNIQUE (cache_id, name),
  UNIQUE (cache_id, public_key)
);

-- A cache that this one sits on top of: what it has counts as present here.
CREATE TABLE upstream (
  id INTEGER PRIMARY KEY NOT NULL,
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  url TEXT NOT NULL,
  UNIQUE (cache_id, url)
);

-- The compression that a client of cachix before 1.3 announced for a file that it put without a name.
ALTER TABLE put_nar ADD COLUMN announced TEXT;

-- Every revision of every pin. `keep` is a revision's own rule in JSON; `expires_at` follows from it.
CREATE TABLE pin (
  id INTEGER PRIMARY KEY NOT NULL,
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  revision BIGINT NOT NULL,
  store_path TEXT NOT NULL,
  artifacts TEXT NOT NULL,
  keep TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  expires_at BIGINT,
  UNIQUE (cache_id, name, revision)
);

-- The log of a derivation's build: a zstd file of the store, by the SHA-256 of the file.
CREATE TABLE build_log (
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  drv TEXT NOT NULL,
  file_hash BLOB NOT NULL,
  file_size BIGINT NOT NULL,
  size BIGINT NOT NULL,
  put_at BIGINT NOT NULL,
  put_by TEXT NOT NULL,
  PRIMARY KEY (cache_id, drv)
);
CREATE INDEX build_log_file ON build_log (file_hash);

-- What an output of a content-addressed derivation turned out to be. `key` is the decoded name below realisations/ or
-- build-trace-v2/.
CREATE TABLE realisation (
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  key TEXT NOT NULL,
  document TEXT NOT NULL,
  put_at BIGINT NOT NULL,
  put_by TEXT NOT NULL,
  PRIMARY KEY (cache_id, key)
);

-- Which NARs hold the debug symbols of a build id (20 bytes).
CREATE TABLE debug_info (
  build_id BLOB NOT NULL,
  nar_id BIGINT NOT NULL REFERENCES nar (id) ON DELETE CASCADE,
  PRIMARY KEY (build_id, nar_id)
);
CREATE INDEX debug_info_nar ON debug_info (nar_id);
