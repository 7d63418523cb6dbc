//! Named places at which a test ends the program as `kill -9` does, to see that nothing is lost. Release builds have none.

/// Ends the program where `IGLU_KILL_AT=<name>` or `IGLU_KILL_AT=<name>@<n>` asks for it: at the first or the n-th time that the place is
/// reached.
#[cfg(debug_assertions)]
pub(crate) fn reach(name: &str) {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    };
    static ASKED: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let asked = std::env::var("IGLU_KILL_AT").ok()?;
        let (name, times) = asked.split_once('@').unwrap_or((&asked, "1"));
        Some((name.to_owned(), AtomicU32::new(times.parse().ok()?)))
    });
    if let Some((asked, left)) = &*ASKED
        && asked == name
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal is on its way; nothing more may happen.
        loop {
            std::thread::park();
        }
    }
}

#[cfg(not(debug_assertions))]
pub(crate) fn reach(_: &str) {}
