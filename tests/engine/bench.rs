//! What the conformance suite needs beside an engine: manifests for it, and hands on what runs in it.

use std::sync::Arc;

use deskrun::engine::Engine;
use deskrun::manifest::RunnerManifest;
use futures::future::BoxFuture;

/// What a runner's container does.
#[derive(Clone, Copy, Debug)]
pub enum Behaviour {
    /// Runs until [`Bench::end`] or SIGTERM, after which it exits with 143.
    Waits,
    /// Runs on after SIGTERM.
    IgnoresTerm,
    /// Its init container `prepare` says `prepared nothing` and exits with 3.
    PreparationFails,
    /// Says `line 1`, `line 2`, `line 3` and exits with 0.
    Speaks,
}

/// A runner to make a manifest for.
#[derive(Clone, Debug)]
pub struct Runner {
    pub name: String,
    pub controller: String,
    pub slot: u32,
    pub behaviour: Behaviour,
}

/// An engine on a bench.
pub trait Bench: Send + Sync + 'static {
    /// A handle as another process would have it: it shares nothing with the others.
    fn engine(&self) -> Arc<dyn Engine>;

    /// A manifest with the labels of `templates/deskrun.yaml`, the pool `/nvme/docker cache`, an emptyDir and a
    /// `ConfigMap` of its own.
    fn manifest(&self, runner: &Runner) -> RunnerManifest;

    /// Lets a runner's process end with this code.
    fn end<'a>(&'a self, runner: &'a str, code: u8) -> BoxFuture<'a, ()>;

    /// What the engine has whose name holds this text: objects of all kinds.
    fn leftovers<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Vec<String>>;

    /// Leaves behind what a controller that is killed would: a runner's secret and volume, and no pod.
    fn abandon<'a>(&'a self, manifest: &'a RunnerManifest) -> BoxFuture<'a, ()>;

    /// An engine that can be broken, and the way to break and mend it.
    fn breakable(&self) -> BoxFuture<'_, Box<dyn Breakable>>;
}

/// An engine that goes away and comes back.
pub trait Breakable: Send {
    fn engine(&self) -> Arc<dyn Engine>;
    fn manifest(&self, runner: &Runner) -> RunnerManifest;
    fn break_down(&mut self) -> BoxFuture<'_, ()>;
    fn mend(&mut self) -> BoxFuture<'_, ()>;
    fn end(self: Box<Self>) -> BoxFuture<'static, ()>;
}
