-- Which paths refer to a path: `refs` of store_path turned round, itself left out. Made from that column by a trigger, whatever statement
-- writes it, and no part of a backup.
CREATE TABLE path_reference (
  cache_id BIGINT NOT NULL,
  hash TEXT NOT NULL,
  path_id BIGINT NOT NULL REFERENCES store_path (id) ON DELETE CASCADE,
  PRIMARY KEY (cache_id, hash, path_id)
);
CREATE INDEX path_reference_path ON path_reference (path_id);

INSERT INTO path_reference (cache_id, hash, path_id)
SELECT p.cache_id, substr(base_name, 1, 32), p.id
FROM store_path p, unnest(string_to_array(p.refs, ' ')) AS reference (base_name)
WHERE p.refs <> '' AND substr(base_name, 1, 32) <> p.hash
ON CONFLICT DO NOTHING;

CREATE OR REPLACE FUNCTION store_path_refers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO path_reference (cache_id, hash, path_id)
  SELECT NEW.cache_id, substr(base_name, 1, 32), NEW.id
  FROM unnest(string_to_array(NEW.refs, ' ')) AS reference (base_name)
  WHERE substr(base_name, 1, 32) <> NEW.hash
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
CREATE TRIGGER store_path_refers AFTER INSERT ON store_path
FOR EACH ROW WHEN (NEW.refs <> '') EXECUTE FUNCTION store_path_refers();

-- Which paths a derivation made, as the build log's keeper asks; what is out of its cache by reason, as metrics and pages ask.
CREATE INDEX store_path_deriver ON store_path (cache_id, deriver);
CREATE INDEX set_aside_deriver ON set_aside (cache_id, deriver);
CREATE INDEX set_aside_reason ON set_aside (reason, cache_id, file_size);
