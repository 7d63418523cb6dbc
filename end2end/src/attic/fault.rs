//! Switches that make the emulated client or its network misbehave during an upload.

/// All off by default: then the upload is as the client does it.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Ends the body in good order after so many bytes of the NAR.
    pub end_after: Option<u64>,
    /// Breaks the connection after so many bytes of the NAR, like a killed client.
    pub break_after: Option<u64>,
    /// Sends these bytes after the NAR.
    pub extra: Vec<u8>,
    /// Claims another `nar_hash`.
    pub wrong_nar_hash: bool,
    /// Bytes by which the claimed `nar_size` differs from the true one.
    pub nar_size_off_by: i64,
    /// Bytes by which the announced size of the preamble differs from the true one. Forces the preamble.
    pub preamble_off_by: i64,
    /// Announces this text as the size of the preamble. Forces the preamble.
    pub preamble_size: Option<String>,
}
