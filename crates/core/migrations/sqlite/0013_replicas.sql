-- Tries to log in, counted by all servers together: when the next one would be due if they came evenly.
CREATE TABLE login_try (
  who TEXT PRIMARY KEY,
  due_at BIGINT NOT NULL
);
