//! What builders need around them: a forge with git repositories, nodes, and a cluster.

mod cluster;
mod forge;
mod node;
mod workshop;

pub use cluster::Cluster;
pub use forge::{Forge, Recorded};
pub use node::Node;
pub use workshop::Workshop;
