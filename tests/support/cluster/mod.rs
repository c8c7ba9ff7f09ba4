//! A real Kubernetes control plane for tests, and nodes that are played.
//!
//! [`ControlPlane`] is etcd, API server, controller manager and scheduler as processes of their own on loopback, ready
//! in seconds and gone with the test's process, however that ends. [`FakeKubelet`] walks pods through their life by
//! script. No container runs here; that is the real kubelet's business (`tests/kubelet.rs`).
//!
//! A suite takes it in by `#[path = "support/cluster/mod.rs"] mod cluster;`, starts one control plane for all its tests
//! and gives each a namespace of its own.
#![allow(dead_code, unused_imports)]

mod access;
mod control_plane;
mod definition;
mod etcd;
mod fake_kubelet;
pub mod folder;
mod image;
mod kubelet;
mod network;
mod node_traces;
mod part;
mod programs;

pub use access::client;
pub use control_plane::{ControlPlane, Options};
pub use definition::established;
pub use fake_kubelet::{FakeKubelet, Fate, Log, Node, Process, Start, process};
pub use kubelet::{Kubelet, NODE};
pub use network::Network;
pub use part::free_port;
pub use programs::helm;
