//! The bus that live pages listen to. Slow listeners lose events and are told; nobody waits for them.

use iglu_api::event::LiveEvent;
use std::sync::Arc;
use tokio::sync::broadcast;

/// Events that a slow listener may be behind.
const CAPACITY: usize = 256;

#[derive(Clone, Debug)]
pub struct Events {
    sender: broadcast::Sender<Arc<LiveEvent>>,
}

impl Default for Events {
    fn default() -> Events {
        Events { sender: broadcast::channel(CAPACITY).0 }
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

    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }
}
