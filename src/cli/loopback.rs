//! The real extender on loopback, and kube-scheduler's side of the wire: what verbs share that need
//! no cluster.

pub mod client;
pub mod extender;
pub mod wire;
