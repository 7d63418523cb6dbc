-- What charts show beside what was asked: downloads, and how large the cache was at the last look of the hour. Hours of long ago are
-- added up to days, at the beginning of the day.
ALTER TABLE cache_activity ADD COLUMN nar_requests BIGINT NOT NULL DEFAULT 0;
ALTER TABLE cache_activity ADD COLUMN path_count BIGINT;
ALTER TABLE cache_activity ADD COLUMN stored_bytes BIGINT;
CREATE INDEX cache_activity_hour ON cache_activity (hour);
