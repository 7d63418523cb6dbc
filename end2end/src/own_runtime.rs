//! Worker threads for what a test runs beside itself: a test that blocks its own thread does not stop them, and they end
//! with the value.

use std::future::Future;

use anyhow::Context as _;
use tokio::runtime::{Builder, Runtime};

/// Two worker threads. Everything on them is dropped where it stands when this is.
#[derive(Debug)]
pub(crate) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    /// Threads that carry `name`.
    pub(crate) fn new(name: &str) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build();
        Ok(Self(Some(runtime.context("cannot start a runtime")?)))
    }

    /// Starts a listener's task: `serve` gets the listener made ready for these threads.
    pub(crate) fn listen<F>(
        &self,
        listener: std::net::TcpListener,
        serve: impl FnOnce(tokio::net::TcpListener) -> F,
    ) -> anyhow::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = self.0.as_ref().context("the runtime has ended")?;
        listener.set_nonblocking(true)?;
        let _entered = runtime.enter();
        runtime.spawn(serve(tokio::net::TcpListener::from_std(listener)?));
        Ok(())
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // Waiting for the threads is forbidden on a thread of another runtime, where tests are.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
