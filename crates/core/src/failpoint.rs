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
    #[cfg(test)]
    if let Some(then) = test::taken(name) {
        then();
    }
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

/// What a test does at such a place, on the thread that reaches it.
#[cfg(test)]
pub(crate) mod test {
    use std::cell::RefCell;

    type Asked = (&'static str, Box<dyn FnOnce()>);

    thread_local! {
        static ASKED: RefCell<Option<Asked>> = const { RefCell::new(None) };
    }

    /// Runs `then` the first time that this thread reaches the place.
    pub(crate) fn at(name: &'static str, then: impl FnOnce() + 'static) {
        ASKED.set(Some((name, Box::new(then))));
    }

    pub(super) fn taken(name: &str) -> Option<Box<dyn FnOnce()>> {
        ASKED.with_borrow_mut(|asked| asked.take_if(|(at, _)| *at == name)).map(|(_, then)| then)
    }
}
