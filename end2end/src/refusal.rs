//! What a refusal has to look like, whichever door it comes out of. Looks only at answers.

use crate::cachix::Error;
use crate::http::Reply;

/// A refusal's status and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// The line that people see.
    pub text: String,
}

impl Refusal {
    /// Of a plain answer: must be `text/plain` with one short line of ASCII, since clients print it escaped.
    pub fn of(reply: &Reply) -> anyhow::Result<Self> {
        let media_type = reply.media_type();
        anyhow::ensure!(media_type == Some("text/plain"), "refusal of type {media_type:?}: {}", reply.text());
        Self::checked(reply.status.as_u16(), &reply.text())
    }

    /// Of a cachix call that must have failed with a status.
    pub fn of_call<T: std::fmt::Debug>(result: Result<T, Error>) -> anyhow::Result<Self> {
        match result {
            Err(error @ Error::Status { .. }) => Self::checked(error.status().unwrap_or_default(), error.body()),
            other => anyhow::bail!("not refused: {other:?}"),
        }
    }

    fn checked(status: u16, text: &str) -> anyhow::Result<Self> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        anyhow::ensure!(status >= 400, "{status} is no refusal");
        anyhow::ensure!(!line.is_empty() && line.len() <= 1024, "{status} with {} bytes of text", line.len());
        anyhow::ensure!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "not one line of ASCII: {text:?}");
        Ok(Self { status, text: line.to_owned() })
    }

    /// Whether the text says each of these words, in any case.
    pub fn says(&self, words: &[&str]) -> bool {
        let text = self.text.to_lowercase();
        words.iter().all(|word| text.contains(&word.to_lowercase()))
    }
}
