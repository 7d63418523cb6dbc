//! The listing of a NAR (`<hash part>.ls`): owns its JSON form, written by the writer and read by the reader below.
//!
//! ```text
//! listing   = {"version":1,"root":<node>}
//! regular   = {"type":"regular","size":<bytes>,"executable":true,"narOffset":<place of its content in the NAR>}
//! symlink   = {"type":"symlink","target":"<target>"}
//! directory = {"type":"directory","entries":{"<name>":<node>,…}}
//! ```

mod reader;
mod writer;

pub use reader::{Entries, Listing, ListingError, MAX_HOPS, Node, ResolveError};
pub use writer::ListingWriter;
