//! Why a call of the emulated client failed, in the client's own terms.

/// A failure that the client would report to its user.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Any status but 200 (for PUT: any outside 2xx).
    #[error("{call}: status {status}: {body}")]
    Status {
        /// Which call.
        call: &'static str,
        /// The answer's status.
        status: u16,
        /// The answer's body, which the client shows.
        body: String,
        /// Seconds that the answer asks to wait.
        retry_after: Option<u64>,
    },
    /// A JSON answer without `Content-Type: application/json`.
    #[error("{call}: content type {found:?} is not application/json")]
    ContentType {
        /// Which call.
        call: &'static str,
        /// The header as received.
        found: Option<String>,
    },
    /// A JSON answer that is not what was declared.
    #[error("{call}: answer cannot be decoded: {cause}")]
    Decode {
        /// Which call.
        call: &'static str,
        /// What the decoder missed.
        cause: String,
    },
    /// No answer at all.
    #[error("{call}: {cause}")]
    Transport {
        /// Which call.
        call: &'static str,
        /// What the connection met.
        cause: String,
    },
    /// The NAR could not be read, or is not the one that the store knows.
    #[error("NAR of {path}: {cause}")]
    Nar {
        /// The store path.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The upload ended early because a fault switch said so.
    #[error("stopped after {parts} parts")]
    Stopped {
        /// Parts that were sent.
        parts: u32,
    },
}

impl Error {
    /// The status of the answer, if there was one that failed.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What the user would see of the answer.
    pub fn body(&self) -> &str {
        match self {
            Self::Status { body, .. } => body,
            _ => "",
        }
    }

    /// Whether another attempt at the same request may help: no answer, 429, 5xx.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }
}
