//! Switches that make the emulated client, its network or its disk misbehave.

/// All off by default: then the upload is as the client does it. What is about parts has no effect on releases that
/// upload without.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Sends every PUT a second time with the same bytes, as after a lost answer.
    pub repeat_put: bool,
    /// Sends complete (before 1.3: the narinfo) a second time, as after a lost answer.
    pub repeat_complete: bool,
    /// Sends the parts in another order, drawn from this seed. Otherwise they go in order, several at once.
    pub shuffle_parts: Option<u64>,
    /// Behaves as if a proxy had removed every ETag: complete then says `"parts": null`.
    pub ignore_etags: bool,
    /// Ends the upload without a word after this many parts (before 1.3: after the NAR), like a killed client.
    pub stop_after: Option<u32>,
    /// Spoils the bytes of this part on its first PUT, like a bad network.
    pub spoil_first_put: Option<u32>,
    /// Announces and sends this part with an MD5 that its bytes do not have, every time.
    pub wrong_part_md5: Option<u32>,
    /// Claims another `cFileHash`.
    pub wrong_file_hash: bool,
    /// Claims another `cFileSize`.
    pub wrong_file_size: bool,
    /// Claims another `cNarHash`.
    pub wrong_nar_hash: bool,
    /// Claims another `cNarSize`.
    pub wrong_nar_size: bool,
    /// Sends the first part once more after complete has been answered; how that went is in the report.
    pub late_put: bool,
}
