-- From which networks a cache may be used, with blanks between; everywhere where there are none.
ALTER TABLE cache ADD COLUMN networks TEXT NOT NULL DEFAULT '';
