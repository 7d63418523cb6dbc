-- Logs of runs that are over are packed: in larger blocks, compressed.

-- 0: as it came. 1: zstd.
ALTER TABLE run_log ADD COLUMN encoding BIGINT NOT NULL DEFAULT 0;
ALTER TABLE run ADD COLUMN is_packed BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX run_unpacked ON run (id) WHERE ended_at IS NOT NULL AND NOT is_packed;
