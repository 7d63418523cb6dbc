//! What servers over one database tell each other, and how it fits into PostgreSQL's notifications.

use iglu_api::{Timestamp, event::LiveEvent};
use serde::{Deserialize, Serialize};

/// PostgreSQL takes 7999 bytes.
const MOST_BYTES: usize = 7900;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum News {
    /// The generation was raised: caches, keys, tokens or settings changed.
    Changed,
    /// What is said of these paths of a cache is no longer so: a file's signatures, or whether they are there.
    Paths { cache: i64, hashes: Vec<String> },
    /// NAR files went.
    Nars,
    /// The speaker could not say everything: whatever is remembered may be old.
    Everything,
    /// For live pages.
    Event(LiveEvent),
    /// There is news of this run.
    Run(u64),
    /// The queue of runs, or who takes them, changed.
    Queue,
    /// A look at a repository was answered.
    Probe,
    /// The leader is to do this kind of work now.
    Wake(String),
    /// The speaker is there.
    Here(Greeting),
    /// The speaker ends.
    Bye,
}

/// How a server introduces itself, every second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub name: String,
    pub version: String,
    pub started_at: Timestamp,
    pub is_leader: bool,
    /// Open streams of live pages.
    pub listeners: usize,
}

/// News in one notification.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope<'a> {
    /// The speaker; empty where the database itself speaks.
    from: &'a str,
    news: Vec<serde_json::Value>,
}

/// The texts that tell `news`, in order. What is too long for one is left out; then the second is `true`.
pub(crate) fn pack(from: &str, news: &[News]) -> (Vec<String>, bool) {
    let overhead = from.len() + 40;
    let (mut texts, mut some, mut size, mut left_out) = (Vec::new(), Vec::new(), 0, false);
    let write = |some: Vec<String>| format!("{{\"from\":\"{from}\",\"news\":[{}]}}", some.join(","));
    for one in news {
        let Ok(json) = serde_json::to_string(one) else { continue };
        if json.len() + overhead > MOST_BYTES {
            left_out = true;
            continue;
        }
        if size + json.len() + overhead > MOST_BYTES {
            texts.push(write(std::mem::take(&mut some)));
            size = 0;
        }
        size += json.len() + 1;
        some.push(json);
    }
    if !some.is_empty() {
        texts.push(write(some));
    }
    (texts, left_out)
}

/// The speaker and what it said. What this version does not know, a newer server said, is left out; `None` where it is no news at all.
pub(crate) fn unpack(text: &str) -> Option<(String, Vec<News>)> {
    let envelope: Envelope<'_> = serde_json::from_str(text).ok()?;
    let news = envelope.news.into_iter().filter_map(|one| serde_json::from_value(one).ok()).collect();
    Some((envelope.from.to_owned(), news))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_told() {
        let hashes = |count| News::Paths { cache: 7, hashes: vec!["0".repeat(32); count] };
        let news = vec![News::Changed, hashes(200), hashes(30), News::Run(3), hashes(100), News::Bye];
        let (texts, left_out) = pack("a", &news);
        assert!(!left_out);
        assert!(texts.len() >= 2 && texts.iter().all(|text| text.len() < 8000), "{texts:?}");
        let told: Vec<News> = texts.iter().flat_map(|text| unpack(text).unwrap().1).collect();
        assert_eq!(told, news);
        assert!(pack("a", &[hashes(300)]).1, "too long for one");
    }

    #[test]
    fn what_a_newer_server_says_is_passed_over() {
        let text = r#"{"from":"b","news":["changed",{"later":1},{"run":4}]}"#;
        assert_eq!(unpack(text), Some(("b".to_owned(), vec![News::Changed, News::Run(4)])));
        assert_eq!(unpack("nonsense"), None);
    }

    #[test]
    fn the_database_speaks_the_same() {
        let sql = include_str!("../../migrations/postgres/0013_replicas.sql");
        let said = sql.split('\'').find(|part| part.starts_with('{')).unwrap();
        assert_eq!(unpack(said), Some((String::new(), vec![News::Changed])));
    }
}
