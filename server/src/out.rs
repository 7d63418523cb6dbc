//! What is printed for people and programs.

use std::{
    fmt::Arguments,
    io::{ErrorKind, Write},
};

/// Prints a line, as `println!` does. Whoever reads no further, as `head` does, ends nothing by that.
macro_rules! say {
    ($($words:tt)*) => { $crate::out::line(format_args!($($words)*)) };
}
pub(crate) use say;

pub fn line(words: Arguments<'_>) {
    match writeln!(std::io::stdout(), "{words}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("iglu: what was to be printed could not be written: {error}");
            std::process::exit(1);
        }
    }
}
