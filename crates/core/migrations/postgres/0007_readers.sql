-- Finding paths by the words of their names, and who reads what.

-- The words of a path's name in small letters, which is what stands between its hyphens, and its hash. Made by a trigger, and no part of a backup.
CREATE TABLE path_word (
  cache_id BIGINT NOT NULL,
  -- By bytes, so that a range of them is a beginning.
  word TEXT COLLATE "C" NOT NULL,
  path_id BIGINT NOT NULL REFERENCES store_path (id) ON DELETE CASCADE,
  PRIMARY KEY (cache_id, word, path_id)
);
CREATE INDEX path_word_path ON path_word (path_id);

INSERT INTO path_word (cache_id, word, path_id)
SELECT p.cache_id, word, p.id
FROM store_path p, unnest(string_to_array(p.hash || '-' || lower(p.name), '-')) AS split (word) WHERE word <> ''
ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION store_path_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO path_word (cache_id, word, path_id)
  SELECT NEW.cache_id, word, NEW.id
  FROM unnest(string_to_array(NEW.hash || '-' || lower(NEW.name), '-')) AS split (word) WHERE word <> ''
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
CREATE TRIGGER store_path_words AFTER INSERT ON store_path
FOR EACH ROW EXECUTE FUNCTION store_path_words();

CREATE INDEX store_path_pusher ON store_path (cache_id, pushed_by, pushed_at);
CREATE INDEX store_path_held ON store_path (cache_id, pushed_at) WHERE NOT is_visible;
CREATE INDEX store_path_never_pulled ON store_path (cache_id, pushed_at) WHERE last_pulled_at IS NULL;

-- How often a path's file was downloaded, all in all and by days (milliseconds of their beginning).
ALTER TABLE store_path ADD COLUMN pull_count BIGINT NOT NULL DEFAULT 0;
CREATE INDEX store_path_pulled ON store_path (cache_id, pull_count) WHERE pull_count > 0;
CREATE TABLE path_pull (
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  hash TEXT NOT NULL,
  day BIGINT NOT NULL,
  pulls BIGINT NOT NULL,
  PRIMARY KEY (cache_id, hash, day)
);
CREATE INDEX path_pull_day ON path_pull (day);

-- A day of a cache's readers: how many there were, as a sketch that keeps no address, and how long they waited, as a histogram.
CREATE TABLE cache_day (
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  day BIGINT NOT NULL,
  clients BYTEA NOT NULL,
  waits BYTEA NOT NULL,
  PRIMARY KEY (cache_id, day)
);
CREATE INDEX cache_day_day ON cache_day (day);
