//! The real extender on loopback, and kube-scheduler's side of the wire: what verbs share that need
//! no cluster.

pub(super) mod client;
pub(super) mod extender;
pub(super) mod wire;
