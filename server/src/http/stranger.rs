//! Bodies of people who show nothing. The server waits for what they announced, and meanwhile they hold room that others need: so few are
//! waited for at a time, and fewer of one sender.

use super::{bulk, caller};
use crate::metrics;
use axum::{
    body::Body,
    http::{HeaderMap, Request},
};
use bytes::Bytes;
use iglu_core::{Error, Result, sender_of};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Of all requests under way, one in so many may be a stranger whose body is waited for.
const SHARE: usize = 8;
/// Of these, and of strangers who listen, one in so many may be of one sender.
const SHARE_OF_ONE: usize = 4;
/// Strangers who listen to what happens.
const LISTENERS: usize = 512;

/// Whose bodies are waited for.
#[derive(Clone)]
pub struct Strangers(Arc<Mutex<Waiting>>);

struct Waiting {
    most: usize,
    count: usize,
    by_sender: HashMap<String, usize>,
}

/// A body that is waited for.
pub struct Wait {
    strangers: Strangers,
    sender: String,
}

impl Strangers {
    /// For a server that takes so many requests at a time.
    pub fn new(requests: usize) -> Strangers {
        Strangers::at_most((requests / SHARE).max(1))
    }

    /// For those who listen.
    pub fn listeners() -> Strangers {
        Strangers::at_most(LISTENERS)
    }

    fn at_most(most: usize) -> Strangers {
        Strangers(Arc::new(Mutex::new(Waiting { most, count: 0, by_sender: HashMap::new() })))
    }

    /// Begins to wait, until what this returns is dropped.
    ///
    /// # Errors
    /// [`Error::TooMany`] where others are waited for already.
    pub fn wait(&self, headers: &HeaderMap) -> Result<Wait> {
        let sender = sender_of(caller::address(headers));
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let most_of_one = (waiting.most / SHARE_OF_ONE).max(1);
        let of_one = waiting.by_sender.get(&sender).copied().unwrap_or(0);
        if waiting.count >= waiting.most || of_one >= most_of_one {
            metrics::shed("strangers");
            let message = "too many requests without a token are still under way; try again".to_owned();
            return Err(Error::TooMany { message, retry_after_seconds: 1 });
        }
        waiting.count += 1;
        waiting.by_sender.insert(sender.clone(), of_one + 1);
        Ok(Wait { strangers: self.clone(), sender })
    }

    /// The body of a request, of at most `limit` bytes, and the turn to hold while it is worked on.
    pub async fn document(&self, request: Request<Body>, limit: usize) -> Result<(Bytes, bulk::Turn)> {
        let (head, body) = request.into_parts();
        let wait = self.wait(&head.headers)?;
        let read = bulk::whole(body, limit, true).await;
        drop(wait);
        read
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut waiting = self.strangers.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.count -= 1;
        match waiting.by_sender.get_mut(&self.sender) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                waiting.by_sender.remove(&self.sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn from(address: &str) -> HeaderMap {
        let mut request = Request::new(());
        caller::note_address(&mut request, address.parse::<IpAddr>().ok());
        request.into_parts().0.headers
    }

    #[test]
    fn one_sender_leaves_room_for_others_and_all_leave_room_for_whoever_shows_something() {
        let strangers = Strangers::new(128);
        let one = from("2001:db8::1");
        let mut held: Vec<Wait> = (0..4).map(|_| strangers.wait(&one).unwrap()).collect();
        assert!(strangers.wait(&one).is_err() && strangers.wait(&from("2001:db8::2")).is_err());
        held.extend((1..=12).map(|number| strangers.wait(&from(&format!("192.0.2.{number}"))).unwrap()));
        assert!(matches!(strangers.wait(&from("192.0.2.99")), Err(Error::TooMany { .. })));
        held.remove(0);
        assert!(strangers.wait(&one).is_ok());
        drop(held);
        assert!(strangers.0.lock().unwrap().by_sender.is_empty());
    }
}
