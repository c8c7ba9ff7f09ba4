//! The client of GitHub's Actions service: credentials, scale sets, message sessions, JIT configs, typed errors.
//!
//! What is sent and read is written down in `scale-set-protocol.md`; the sections are named where they matter. The
//! client runs over any HTTP transport (a tower service), and takes clock and randomness as arguments. It decides
//! nothing about runners, and knows nothing of engines.

mod admission;
mod changes;
mod config_url;
mod connection;
mod credentials;
mod date;
mod environment;
mod error;
mod exchange;
mod retry;
mod service;
mod session;
mod transport;
mod wire;

pub use changes::Changes;
pub use config_url::{ConfigUrl, ConfigUrlError, ConfigUrlOptions, Scope};
pub use credentials::{AppIssuer, Credentials, CredentialsError, CredentialsSource};
pub use environment::Environment;
pub use error::{Exception, GitHubError, NoWayIn, RequestIds};
pub use service::{ActionsService, Identity, NewScaleSet};
pub use session::{MessageSession, Poll};
pub use transport::{
    CallName, HttpOptions, Proxies, Request, Response, Transport, TransportError, TransportFault, counted, over_http,
};
pub use wire::{Envelope, JitConfig, JobEvent, JobMessage, Label, Runner, RunnerGroup, ScaleSet, Statistics};
