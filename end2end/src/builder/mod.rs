//! What builders need around them: a forge with git repositories, and nodes.

mod forge;
mod node;
mod workshop;

pub use forge::{Forge, Recorded};
pub use node::Node;
pub use workshop::Workshop;
