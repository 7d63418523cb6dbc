//! Statements that read store paths.

use super::{cache::unsigned, *};
use iglu_api::{
    Timestamp,
    path::{PathFilter, PathPage, PathQuery, PathRow, PathSort, RecentPush},
};
use nix_compat::store_path::StorePathHash;
use sqlx::{AssertSqlSafe, FromRow};
use std::{collections::HashSet, sync::LazyLock};

statements! {
    GET_NARINFO = "SELECT p.hash, p.name, p.refs, p.deriver, p.ca, p.signatures, n.nar_hash, n.nar_size, n.file_hash, \
        n.file_size, n.compression FROM store_path p JOIN nar n ON n.id = p.nar_id \
        WHERE p.cache_id = $1 AND p.hash = $2 AND p.is_visible";
    GET_LISTING = "SELECT l.listing FROM store_path p JOIN nar_listing l ON l.nar_id = p.nar_id \
        WHERE p.cache_id = $1 AND p.hash = $2 AND p.is_visible";
    GET_NAR_FILE = "SELECT n.file_size, n.compression FROM nar n JOIN store_path p ON p.nar_id = n.id \
        WHERE n.file_hash = $2 AND p.cache_id = $1 AND p.is_visible LIMIT 1";
    GET_PUT_NAR_FILE = "SELECT file_size, compression FROM put_nar \
        WHERE cache_id = $1 AND file_hash = $2 AND compression IS NOT NULL";
    GET_COLLECTED_NAR_FILE = "SELECT n.file_size, n.compression FROM nar n \
        JOIN set_aside s ON s.nar_id = n.id WHERE n.file_hash = $2 AND n.damaged_at IS NULL AND s.cache_id = $1 AND s.reason = 'collected' LIMIT 1";
    LIST_NAMES_AFTER = "SELECT hash, name FROM store_path WHERE cache_id = $1 AND hash > $2 AND is_visible ORDER BY hash LIMIT 1000";
    GET_PATH_ROW = "SELECT hash, name, nar_size, file_size, pushed_at, pushed_by, last_pulled_at, is_visible FROM store_path \
        WHERE cache_id = $1 AND hash = $2";
    GET_PATH_COUNT = "SELECT path_count FROM cache WHERE id = $1";
    LIST_NEWEST = "SELECT hash, name, nar_size, file_size, pushed_at, pushed_by, last_pulled_at, is_visible FROM store_path \
        WHERE cache_id = $1 ORDER BY pushed_at DESC, id DESC LIMIT $2 OFFSET $3";
    LIST_BY_NAME = "SELECT hash, name, nar_size, file_size, pushed_at, pushed_by, last_pulled_at, is_visible FROM store_path \
        WHERE cache_id = $1 ORDER BY name, id LIMIT $2 OFFSET $3";
    COUNT_SOME = "SELECT COUNT(*) FROM (SELECT path_id FROM path_word WHERE cache_id = $1 AND word >= $2 AND word < $3 LIMIT $4) AS found";
    COUNT_SOME_OF_BOTH = "SELECT COUNT(*) FROM (SELECT path_id FROM path_word WHERE cache_id = $1 AND word >= $2 AND word < $3 \
        INTERSECT SELECT path_id FROM path_word WHERE cache_id = $1 AND word >= $4 AND word < $5 LIMIT $6) AS found";
    COUNT_SOME_PUSHED = "SELECT COUNT(*) FROM (SELECT id FROM store_path WHERE cache_id = $1 AND pushed_by = $2 LIMIT $3) AS found";
    LIST_LARGEST = "SELECT hash, name, nar_size, file_size, pushed_at, pushed_by, last_pulled_at, is_visible FROM store_path \
        WHERE cache_id = $1 ORDER BY file_size DESC, id DESC LIMIT $2 OFFSET $3";
}

/// Hashes looked up in one statement: for `watch-store`, which asks about a few, and for whole closures. Binding to SQLite looks at
/// all names of parameters for each of them, so that its cost grows with the square: 4096 took five times as long as 256.
const MISSING_FEW: usize = 32;
const MISSING_CHUNK: usize = 256;
static FIND_FEW_MISSING: LazyLock<String> = LazyLock::new(|| find_missing(MISSING_FEW));
static FIND_MISSING: LazyLock<String> = LazyLock::new(|| find_missing(MISSING_CHUNK));

fn find_missing(count: usize) -> String {
    let values: Vec<String> = (2..2 + count).map(|number| format!("(${number})")).collect();
    format!(
        "WITH asked (hash) AS (VALUES {}) SELECT string_agg(hash, ' ') FROM asked \
         WHERE NOT EXISTS (SELECT 1 FROM store_path p WHERE p.cache_id = $1 AND p.hash = asked.hash)",
        values.join(", ")
    )
}

/// Paths with one word that are found one by one and sorted.
const FEW: i64 = if cfg!(test) { 5 } else { 4000 };
/// How many paths of a list are looked at before anything dearer is tried.
const WINDOWS: [i64; 2] = if cfg!(test) { [60, 120] } else { [2_000, 50_000] };
/// Shorter words begin too many to be put beside each other.
const SHORTEST_OF_BOTH: usize = 3;
/// Words of a search that are looked at.
const MOST_TERMS: usize = 8;

/// The words of a search, in small letters.
fn search_terms(search: &str) -> Vec<String> {
    let lower = search.to_lowercase();
    let words = lower.split_whitespace().map(|word| word.trim_start_matches("/nix/store/").trim_matches('-'));
    words.filter(|word| !word.is_empty()).take(MOST_TERMS).map(str::to_owned).collect()
}

/// The first text behind all that begin with `term`: names of store paths are ASCII.
fn past(term: &str) -> String {
    format!("{term}\u{7f}")
}

/// How a page is found.
#[derive(Clone, Copy)]
enum Way<'a> {
    /// Read in the order of the list until the page is full.
    InOrder,
    /// The same, but give up behind so many paths of the list: what comes back may be less than a page then.
    Within(i64),
    /// By words that few paths have together; those are sorted.
    ByWords(&'a [&'a str]),
    /// Few are found by another condition; those are sorted.
    Sorted,
}

/// The statement that finds a page, and what it is given behind the cache, the limit and the offset.
fn find_paths(query: &PathQuery, terms: &[String], way: Way<'_>) -> (String, Vec<String>) {
    const FIRST_TEXT: usize = 4;
    // With a plus before it no index begins with the cache: those few are found by their ids.
    let of_cache = if matches!(way, Way::ByWords(_)) { "+p.cache_id = $1" } else { "p.cache_id = $1" };
    let (mut conditions, mut texts) = (vec![of_cache.to_owned()], Vec::new());
    let mut text = |value: String| {
        texts.push(value);
        format!("${}", FIRST_TEXT + texts.len() - 1)
    };
    if let Way::ByWords(words) = way {
        let with = words.iter().map(|word| {
            let (from, to) = (text((*word).to_owned()), text(past(word)));
            format!("SELECT path_id FROM path_word WHERE cache_id = $1 AND word >= {from} AND word < {to}")
        });
        let found = with.collect::<Vec<_>>().join(" INTERSECT ");
        // The limit takes nothing away; it says to an engine that guesses that there are few.
        conditions.push(format!("p.id IN (SELECT path_id FROM ({found}) AS found LIMIT {})", FEW + 1));
    }
    for term in terms {
        let literal = like_literal(term);
        let word = text(format!("%-{literal}%"));
        conditions.push(format!("'-' || p.hash || '-' || LOWER(p.name) LIKE {word} ESCAPE '\\'"));
    }
    if !query.pushed_by.is_empty() {
        let pusher = text(query.pushed_by.clone());
        conditions.push(format!("p.pushed_by = {pusher}"));
    }
    match query.filter {
        PathFilter::All => {}
        PathFilter::NeverPulled => conditions.push("p.last_pulled_at IS NULL".to_owned()),
        PathFilter::Held => conditions.push("NOT p.is_visible".to_owned()),
        // Behind /nix/store/
        PathFilter::Pinned => {
            conditions.push("p.hash IN (SELECT SUBSTR(store_path, 12, 32) FROM pin WHERE cache_id = $1)".to_owned())
        }
    }
    let in_order = match query.sort {
        PathSort::Newest => "p.pushed_at DESC, p.id DESC",
        PathSort::Name => "p.name, p.id",
        PathSort::Largest => "p.file_size DESC, p.id DESC",
    };
    // No index has these sums and joined texts: an engine that believes that reading a whole index is cheap does not get to.
    let sorted = match query.sort {
        PathSort::Newest => "p.pushed_at + 0 DESC, p.id DESC",
        PathSort::Name => "p.name || '', p.id",
        PathSort::Largest => "p.file_size + 0 DESC, p.id DESC",
    };
    let (from, order) = match way {
        Way::InOrder => ("store_path p".to_owned(), in_order),
        Way::Within(most) => {
            let first = format!("SELECT * FROM store_path p WHERE p.cache_id = $1 ORDER BY {in_order} LIMIT {most}");
            (format!("({first}) p"), in_order)
        }
        Way::ByWords(_) | Way::Sorted => ("store_path p".to_owned(), sorted),
    };
    let sql = format!(
        "SELECT p.hash, p.name, p.nar_size, p.file_size, p.pushed_at, p.pushed_by, p.last_pulled_at, p.is_visible \
         FROM {from} WHERE {} ORDER BY {order} LIMIT $2 OFFSET $3",
        conditions.join(" AND ")
    );
    (sql, texts)
}

/// Everything of a narinfo.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct NarinfoRow {
    pub hash: String,
    pub name: String,
    pub refs: String,
    pub deriver: Option<String>,
    pub ca: Option<String>,
    pub signatures: String,
    pub nar_hash: Vec<u8>,
    pub nar_size: i64,
    pub file_hash: Vec<u8>,
    pub file_size: i64,
    pub compression: String,
}

/// A NAR file that can be read in a cache.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct NarFileRow {
    pub file_size: i64,
    pub compression: String,
}

#[derive(FromRow)]
struct ListRow {
    hash: String,
    name: String,
    nar_size: i64,
    file_size: i64,
    pushed_at: i64,
    pushed_by: String,
    last_pulled_at: Option<i64>,
    is_visible: bool,
}

impl ListRow {
    fn into_api(self) -> Option<PathRow> {
        Some(PathRow {
            hash: StorePathHash::parse(&self.hash).ok()?,
            name: self.name,
            nar_size: unsigned(self.nar_size),
            file_size: unsigned(self.file_size),
            pushed_at: Timestamp(self.pushed_at),
            pushed_by: self.pushed_by,
            last_pulled_at: self.last_pulled_at.map(Timestamp),
            held: !self.is_visible,
        })
    }
}

/// `text` for LIKE, with its wild cards taken literally.
pub(super) fn like_literal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

impl Db {
    pub async fn narinfo_get(&self, cache_id: i64, hash: &str) -> Result<Option<NarinfoRow>> {
        Ok(read!(self, |pool| sqlx::query_as(GET_NARINFO).bind(cache_id).bind(hash).fetch_optional(pool).await?))
    }

    /// The zstd-compressed listing of a visible path.
    pub async fn listing_get(&self, cache_id: i64, hash: &str) -> Result<Option<Vec<u8>>> {
        Ok(read!(self, |pool| sqlx::query_scalar(GET_LISTING).bind(cache_id).bind(hash).fetch_optional(pool).await?))
    }

    pub async fn nar_file_get(&self, cache_id: i64, file_hash: &[u8]) -> Result<Option<NarFileRow>> {
        for sql in [GET_NAR_FILE, GET_PUT_NAR_FILE, GET_COLLECTED_NAR_FILE] {
            let found: Option<NarFileRow> =
                read!(self, |pool| sqlx::query_as(sql).bind(cache_id).bind(file_hash).fetch_optional(pool).await?);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// How many paths a cache has.
    pub async fn path_count(&self, cache_id: i64) -> Result<u64> {
        let count: Option<i64> =
            read!(self, |pool| sqlx::query_scalar(GET_PATH_COUNT).bind(cache_id).fetch_optional(pool).await?);
        Ok(unsigned(count.unwrap_or_default()))
    }

    pub async fn path_row(&self, cache_id: i64, hash: &str) -> Result<Option<PathRow>> {
        let row: Option<ListRow> =
            read!(self, |pool| sqlx::query_as(GET_PATH_ROW).bind(cache_id).bind(hash).fetch_optional(pool).await?);
        Ok(row.and_then(ListRow::into_api))
    }

    /// Which of `hashes` are not in the cache, neither visible nor held. The engine gives the missing ones of a chunk as one text:
    /// a row for each would cost more than finding it. Two chunks are looked up at a time.
    pub async fn paths_missing(&self, cache_id: i64, hashes: &[StorePathHash]) -> Result<Vec<StorePathHash>> {
        let (first, second) = hashes.split_at(hashes.len() / 2 / MISSING_CHUNK * MISSING_CHUNK);
        let one_by_one = async |hashes: &[StorePathHash]| {
            let mut missing = Vec::new();
            for chunk in hashes.chunks(MISSING_CHUNK) {
                let found = self.paths_missing_of(cache_id, chunk).await?;
                missing.extend(found.split(' ').filter_map(|hash| StorePathHash::parse(hash).ok()));
            }
            Ok::<_, Error>(missing)
        };
        let (mut missing, more) = tokio::try_join!(one_by_one(first), one_by_one(second))?;
        missing.extend(more);
        missing.sort_unstable();
        missing.dedup();
        Ok(missing)
    }

    /// The missing ones of a chunk with blanks between them.
    async fn paths_missing_of(&self, cache_id: i64, chunk: &[StorePathHash]) -> Result<String> {
        // Of two lengths only, so that the statement is prepared once; a hash that comes twice is looked up twice.
        let few = chunk.len() <= MISSING_FEW;
        let (asked, sql) = if few { (MISSING_FEW, &*FIND_FEW_MISSING) } else { (MISSING_CHUNK, &*FIND_MISSING) };
        let padding = std::iter::repeat_n(chunk.last(), asked - chunk.len()).flatten();
        let found: Option<String> = read!(self, |pool| {
            let mut query = sqlx::query_scalar(AssertSqlSafe(sql.as_str())).bind(cache_id);
            for hash in chunk.iter().chain(padding) {
                query = query.bind(hash.to_string());
            }
            query.fetch_one(pool).await?
        });
        Ok(found.unwrap_or_default())
    }

    /// Which of `hashes` are in the cache, visible or held; with `visible_only`, which can be pulled.
    pub async fn paths_present(&self, cache_id: i64, hashes: &[String], visible_only: bool) -> Result<HashSet<String>> {
        let mut present = HashSet::with_capacity(hashes.len());
        for chunk in hashes.chunks(CHUNK) {
            let visible = if visible_only { " AND is_visible" } else { "" };
            let sql = format!(
                "SELECT hash FROM store_path WHERE cache_id = $1 AND hash IN ({}){visible}",
                placeholders(2, chunk.len())
            );
            let found: Vec<String> = read!(self, |pool| {
                let mut query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(cache_id);
                for hash in chunk {
                    query = query.bind(hash);
                }
                query.fetch_all(pool).await?
            });
            present.extend(found);
        }
        Ok(present)
    }

    /// Hash parts and names of visible paths behind a hash part.
    pub async fn path_names_after(&self, cache_id: i64, hash: &str) -> Result<Vec<(String, String)>> {
        Ok(read!(self, |pool| sqlx::query_as(LIST_NAMES_AFTER).bind(cache_id).bind(hash).fetch_all(pool).await?))
    }

    /// One page of paths, with one row more than a page where there is a next one.
    pub async fn path_list(&self, cache_id: i64, query: &PathQuery) -> Result<Vec<PathRow>> {
        let limit = i64::from(PathPage::ROWS) + 1;
        let offset = i64::from(query.page) * i64::from(PathPage::ROWS);
        let terms = search_terms(&query.search);
        let plain = terms.is_empty() && query.filter == PathFilter::All && query.pushed_by.is_empty();
        let rows: Vec<ListRow> = if plain {
            let sql = match query.sort {
                PathSort::Newest => LIST_NEWEST,
                PathSort::Name => LIST_BY_NAME,
                PathSort::Largest => LIST_LARGEST,
            };
            read!(self, |pool| sqlx::query_as(sql).bind(cache_id).bind(limit).bind(offset).fetch_all(pool).await?)
        } else {
            // The index has what stands between hyphens.
            let mut words: Vec<&str> =
                terms.iter().flat_map(|term| term.split('-')).filter(|word| !word.is_empty()).collect();
            words.sort_by_key(|word| std::cmp::Reverse(word.len()));
            let mut few = None;
            for word in &words {
                if few.is_none() && self.has_few(cache_id, word).await? {
                    few = Some(std::slice::from_ref(word));
                }
            }
            let few_otherwise = matches!(query.filter, PathFilter::Pinned | PathFilter::Held)
                || (!query.pushed_by.is_empty() && self.pushed_few(cache_id, &query.pushed_by).await?);
            if let Some(few) = few {
                self.path_list_by(cache_id, query, &terms, Way::ByWords(few)).await?
            } else if few_otherwise {
                self.path_list_by(cache_id, query, &terms, Way::Sorted).await?
            } else if terms.is_empty() {
                self.path_list_by(cache_id, query, &terms, Way::InOrder).await?
            } else {
                self.path_list_frequent(cache_id, query, &terms, &words).await?
            }
        };
        Ok(rows.into_iter().filter_map(ListRow::into_api).collect())
    }

    /// Each word is frequent, so that a page is soon full in the order of the list. But words may be rare together, or stand at the far
    /// end of the list only; and an engine that cannot know how frequent they are would rather read everything.
    async fn path_list_frequent(
        &self,
        cache_id: i64,
        query: &PathQuery,
        terms: &[String],
        words: &[&str],
    ) -> Result<Vec<ListRow>> {
        let [near, far] = WINDOWS.map(Way::Within);
        let found = self.path_list_by(cache_id, query, terms, near).await?;
        if found.len() > PathPage::ROWS as usize {
            return Ok(found);
        }
        if let [one, other, ..] = *words
            && other.len() >= SHORTEST_OF_BOTH
            && self.both_have_few(cache_id, one, other).await?
        {
            return self.path_list_by(cache_id, query, terms, Way::ByWords(&[one, other])).await;
        }
        let found = self.path_list_by(cache_id, query, terms, far).await?;
        if found.len() > PathPage::ROWS as usize {
            return Ok(found);
        }
        self.path_list_by(cache_id, query, terms, Way::InOrder).await
    }

    async fn path_list_by(
        &self,
        cache_id: i64,
        query: &PathQuery,
        terms: &[String],
        way: Way<'_>,
    ) -> Result<Vec<ListRow>> {
        let limit = i64::from(PathPage::ROWS) + 1;
        let offset = i64::from(query.page) * i64::from(PathPage::ROWS);
        let (sql, texts) = find_paths(query, terms, way);
        Ok(read!(self, |pool| {
            let mut found = sqlx::query_as(AssertSqlSafe(sql)).bind(cache_id).bind(limit).bind(offset);
            for text in texts {
                found = found.bind(text);
            }
            found.fetch_all(pool).await?
        }))
    }

    /// Whether so few paths have words with both beginnings that they can be sorted.
    async fn both_have_few(&self, cache_id: i64, one: &str, other: &str) -> Result<bool> {
        let found: i64 = read!(self, |pool| sqlx::query_scalar(COUNT_SOME_OF_BOTH)
            .bind(cache_id)
            .bind(one)
            .bind(past(one))
            .bind(other)
            .bind(past(other))
            .bind(FEW + 1)
            .fetch_one(pool)
            .await?);
        Ok(found <= FEW)
    }

    /// Whether so few paths have a word or hash with this beginning that they can be sorted. Where there are more, reading in the order
    /// of the list soon finds a page of them.
    async fn has_few(&self, cache_id: i64, term: &str) -> Result<bool> {
        let past = past(term);
        let found: i64 = read!(self, |pool| sqlx::query_scalar(COUNT_SOME)
            .bind(cache_id)
            .bind(term)
            .bind(&past)
            .bind(FEW + 1)
            .fetch_one(pool)
            .await?);
        Ok(found <= FEW)
    }

    /// The same of what somebody pushed.
    async fn pushed_few(&self, cache_id: i64, pushed_by: &str) -> Result<bool> {
        let found: i64 = read!(self, |pool| sqlx::query_scalar(COUNT_SOME_PUSHED)
            .bind(cache_id)
            .bind(pushed_by)
            .bind(FEW + 1)
            .fetch_one(pool)
            .await?);
        Ok(found <= FEW)
    }

    /// The newest paths of one cache.
    pub async fn recent_pushes(
        &self,
        cache: &iglu_api::CacheName,
        cache_id: i64,
        limit: i64,
    ) -> Result<Vec<RecentPush>> {
        let rows: Vec<ListRow> = read!(self, |pool| sqlx::query_as(LIST_NEWEST)
            .bind(cache_id)
            .bind(limit)
            .bind(0_i64)
            .fetch_all(pool)
            .await?);
        let rows = rows.into_iter().filter_map(ListRow::into_api);
        Ok(rows.map(|path| RecentPush { cache: cache.clone(), path }).collect())
    }
}
