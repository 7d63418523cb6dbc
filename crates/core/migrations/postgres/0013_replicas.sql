-- Servers that share this database hear at once that what they hold in memory changed.
CREATE OR REPLACE FUNCTION generation_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('iglu', '{"from":"","news":["changed"]}');
  RETURN NULL;
END
$$;
CREATE TRIGGER generation_changed AFTER UPDATE ON generation FOR EACH ROW EXECUTE FUNCTION generation_tell();

-- Tries to log in, counted by all servers together: when the next one would be due if they came evenly.
CREATE TABLE login_try (
  who TEXT PRIMARY KEY,
  due_at BIGINT NOT NULL
);
