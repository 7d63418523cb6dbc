-- Which paths refer to a path: `refs` of store_path turned round, itself left out. Made from that column by a trigger, whatever statement
-- writes it, and no part of a backup.
CREATE TABLE path_reference (
  cache_id BIGINT NOT NULL,
  hash TEXT NOT NULL,
  path_id BIGINT NOT NULL REFERENCES store_path (id) ON DELETE CASCADE,
  PRIMARY KEY (cache_id, hash, path_id)
) WITHOUT ROWID;
CREATE INDEX path_reference_path ON path_reference (path_id);

-- Names of store paths hold nothing that JSON would escape.
INSERT OR IGNORE INTO path_reference (cache_id, hash, path_id)
SELECT p.cache_id, substr(name.value, 1, 32), p.id
FROM store_path p, json_each('["' || replace(p.refs, ' ', '","') || '"]') name
WHERE p.refs <> '' AND substr(name.value, 1, 32) <> p.hash;

CREATE TRIGGER store_path_refers AFTER INSERT ON store_path WHEN NEW.refs <> ''
BEGIN
  INSERT OR IGNORE INTO path_reference (cache_id, hash, path_id)
  SELECT NEW.cache_id, substr(name.value, 1, 32), NEW.id
  FROM json_each('["' || replace(NEW.refs, ' ', '","') || '"]') name
  WHERE substr(name.value, 1, 32) <> NEW.hash;
END;

-- Which paths a derivation made, as the build log's keeper asks; what is out of its cache by reason, as metrics and pages ask.
CREATE INDEX store_path_deriver ON store_path (cache_id, deriver);
CREATE INDEX set_aside_deriver ON set_aside (cache_id, deriver);
CREATE INDEX set_aside_reason ON set_aside (reason, cache_id, file_size);
