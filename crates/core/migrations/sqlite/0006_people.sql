-- Who may do what in which cache, and links that bring people in.

-- From then on the person is let in no more.
ALTER TABLE account ADD COLUMN disabled_at BIGINT;

CREATE TABLE cache_member (
  cache_id BIGINT NOT NULL REFERENCES cache (id) ON DELETE CASCADE,
  account_id BIGINT NOT NULL REFERENCES account (id) ON DELETE CASCADE,
  -- viewer, pusher, maintainer or owner
  role TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (cache_id, account_id)
);
CREATE INDEX cache_member_account ON cache_member (account_id);

-- Until now everybody with an account might push everywhere.
INSERT INTO cache_member (cache_id, account_id, role, created_at)
  SELECT c.id, a.id, 'pusher', a.created_at FROM cache c CROSS JOIN account a WHERE NOT a.is_admin;

-- A link that can be used once. With `account_id` it lets that person choose a new password; else it brings somebody in: with
-- `cache_id` into that cache, without as a member or administrator of the server (`role` is member or admin).
CREATE TABLE invitation (
  id INTEGER PRIMARY KEY NOT NULL,
  secret_hash BLOB NOT NULL UNIQUE,
  cache_id BIGINT REFERENCES cache (id) ON DELETE CASCADE,
  account_id BIGINT REFERENCES account (id) ON DELETE CASCADE,
  role TEXT NOT NULL,
  note TEXT NOT NULL,
  invited_by TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
CREATE INDEX invitation_cache ON invitation (cache_id);
CREATE INDEX invitation_account ON invitation (account_id);
CREATE INDEX token_account ON token (account_id);
CREATE INDEX token_cache ON token (cache_id);

-- Who made it. A token without an account belongs to its cache, or to the server.
ALTER TABLE token ADD COLUMN made_by TEXT NOT NULL DEFAULT '';

-- The cache that a change was about; it may be gone.
ALTER TABLE audit ADD COLUMN cache_id BIGINT;
CREATE INDEX audit_cache ON audit (cache_id, id);
