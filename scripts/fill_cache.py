#!/usr/bin/env python3
"""Fills a cache of a stopped or running Iglu (SQLite) with made-up store paths, to look at large caches.

    scripts/fill_cache.py DATA-FOLDER CACHE COUNT

The paths share one made-up NAR, so that narinfos are served and NARs are not.
"""
import hashlib
import sqlite3
import sys
import time

ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"


def hash_part(number):
    value = int.from_bytes(hashlib.sha256(str(number).encode()).digest()[:20], "big")
    return "".join(ALPHABET[value >> (5 * digit) & 31] for digit in reversed(range(32)))


def rows(cache, nar, count, now):
    for number in range(count):
        reference = hash_part(number // 2)
        yield (
            cache, hash_part(number), f"made-up-{number}", nar, 1000 + number, 500 + number % 9973,
            f"{reference}-made-up-{number // 2}", "", now - number * 1000, "fill_cache", True,
        )


def main(data, cache_name, count):
    database = sqlite3.connect(f"{data}/iglu.db", timeout=30)
    now = int(time.time() * 1000)
    (cache,) = database.execute("SELECT id FROM cache WHERE name = ?", (cache_name,)).fetchone()
    with database:
        digest = hashlib.sha256(b"made up").digest()
        database.execute(
            "INSERT INTO nar (nar_hash, nar_size, file_hash, file_size, compression, created_at) "
            "VALUES (?, 1000, ?, 500, 'zstd', ?) ON CONFLICT DO NOTHING",
            (digest, digest, now),
        )
        (nar,) = database.execute("SELECT id FROM nar WHERE file_hash = ?", (digest,)).fetchone()
        database.executemany(
            "INSERT INTO store_path (cache_id, hash, name, nar_id, nar_size, file_size, refs, signatures, pushed_at, pushed_by, "
            "is_visible) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows(cache, nar, int(count), now),
        )
        database.execute(
            "UPDATE cache SET path_count = path_count + ?, stored_bytes = stored_bytes + ?, last_push_at = ? WHERE id = ?",
            (int(count), int(count) * 5486, now, cache),
        )
        database.execute("UPDATE generation SET value = value + 1")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
