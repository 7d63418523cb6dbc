//! The bus that live pages listen to. Slow listeners lose events and are told; nobody waits for them.

use iglu_api::event::LiveEvent;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Events that a slow listener may be behind.
const CAPACITY: usize = 256;

#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Arc<LiveEvent>>,
    runs: broadcast::Sender<u64>,
}

impl Default for Events {
    fn default() -> Events {
        Events { sender: broadcast::channel(CAPACITY).0, runs: broadcast::channel(CAPACITY).0 }
    }
}

impl Events {
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<LiveEvent>> {
        self.sender.subscribe()
    }

    pub(crate) fn send(&self, event: LiveEvent) {
        // An error means that nobody listens.
        let _ = self.sender.send(Arc::new(event));
    }

    /// The numbers of runs of which there is news. Who misses some looks at its run anew.
    pub fn subscribe_runs(&self) -> broadcast::Receiver<u64> {
        self.runs.subscribe()
    }

    pub(crate) fn run(&self, id: u64) {
        let _ = self.runs.send(id);
    }

    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }
}
