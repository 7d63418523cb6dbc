//! Bodies that are worked on whole, such as questions about many paths at once: large ones a few at a time, read off the async threads.

use super::body;
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use iglu_core::{Error, Result};
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Nearly two million hashes; some clients ask for a whole closure at once.
const LONGEST: usize = 64 << 20;
/// A quarter of a million hashes.
const LONGEST_OF_STRANGERS: usize = 8 << 20;
/// Up to here a question waits for nobody: who only opens connections holds up nothing.
const SMALL: usize = 1 << 20;
/// What comes slower than this whole is given up.
const DEADLINE: Duration = Duration::from_secs(120);
/// Large questions in memory at once. Strangers wait for strangers only.
static TURNS: Semaphore = Semaphore::const_new(4);
static TURNS_OF_STRANGERS: Semaphore = Semaphore::const_new(2);

/// The turn of somebody whose bytes are in memory; small ones need none.
pub type Turn = Option<SemaphorePermit<'static>>;

/// A question as it was understood, and the turn to hold until it is answered.
pub struct Bulk<T> {
    pub asked: T,
    pub turn: Turn,
}

/// Reads a question. `form` says what it should be.
pub async fn read<T>(body: Body, is_stranger: bool, form: &str) -> Result<Bulk<T>>
where
    T: DeserializeOwned + Send + 'static,
{
    let longest = if is_stranger { LONGEST_OF_STRANGERS } else { LONGEST };
    let (whole, turn) = whole(body, longest, is_stranger).await?;
    let asked = tokio::task::spawn_blocking(move || serde_json::from_slice::<T>(&whole)).await?;
    let asked = asked.map_err(|error| Error::invalid("", format!("the body is not {form}: {error}")))?;
    Ok(Bulk { asked, turn })
}

/// A whole body of at most `longest` bytes, and the turn to hold until it is worked on.
pub async fn whole(body: Body, longest: usize, is_stranger: bool) -> Result<(Bytes, Turn)> {
    let turns = if is_stranger { &TURNS_OF_STRANGERS } else { &TURNS };
    let announced =
        http_body::Body::size_hint(&body).exact().map_or(0, |size| usize::try_from(size).unwrap_or(usize::MAX));
    if announced > longest {
        let message = format!("the body of {announced} bytes is larger than the {longest} allowed here");
        body::drain(body::stream(body));
        return Err(Error::TooLarge(message));
    }
    let mut chunks = body::stream(body);
    let mut whole = BytesMut::with_capacity(announced.min(SMALL));
    let mut turn = None;
    let reading = async {
        while let Some(chunk) = chunks.next().await.transpose()? {
            let length = whole.len() + chunk.len();
            if length > longest {
                return Err(Error::TooLarge(format!("the body is larger than the {longest} bytes allowed here")));
            }
            if length > SMALL && turn.is_none() {
                turn = Some(turns.acquire().await.map_err(|_| Error::internal("the queue of questions is closed"))?);
                // At once: growing step by step would hold it twice.
                whole.reserve(announced.saturating_sub(whole.len()));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(())
    };
    let slow = |_| Error::Interrupted(format!("the body took longer than {} seconds", DEADLINE.as_secs()));
    let read = tokio::time::timeout(DEADLINE, reading).await.map_err(slow).flatten();
    if let Err(error) = read {
        body::drain(chunks);
        return Err(error);
    }
    Ok((whole.freeze(), turn))
}
