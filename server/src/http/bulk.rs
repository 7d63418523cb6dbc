//! Questions about many paths at once: few at a time, read off the async threads.

use super::body;
use axum::body::Body;
use iglu_core::{Error, Result};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Nearly two million hashes; some clients ask for a whole closure at once.
pub const LONGEST: usize = 64 << 20;
/// Questions in memory at once.
static TURNS: Semaphore = Semaphore::const_new(4);

/// Reads a question of at most `longest` bytes. The turn is held until it is answered.
pub async fn read<T>(body: Body, longest: usize, form: &str) -> Result<(SemaphorePermit<'static>, T)>
where
    T: DeserializeOwned + Send + 'static,
{
    let turn = TURNS.acquire().await.map_err(|_| Error::internal("the queue of questions is closed"))?;
    let body = body::whole(body::stream(body), longest).await?;
    let read = tokio::task::spawn_blocking(move || serde_json::from_slice::<T>(&body)).await?;
    Ok((turn, read.map_err(|error| Error::invalid("", format!("the body is not {form}: {error}")))?))
}
