//! The objects as users write them: `RunnerScaleSet` and `PodmanHost` of the group `deskrun.dev/v1alpha1`.
//!
//! Text comes in, typed objects with their positions go out ([`read()`]). Only the shape is checked here (names, types,
//! known values); what the values mean together is [`crate::scale_set`]'s business. Doc comments on the types become
//! the field documentation of the custom resource, whose definition is made here ([`definition()`]).

mod definition;
mod deletion;
pub mod limits;
mod overrides;
mod podman_host;
mod read;
mod rules;
mod runner_scale_set;
mod status;
mod structural;

pub use definition::{GROUP, PLURAL, VERSION, definition};
pub use deletion::deletion_policy;
pub use podman_host::PodmanHostSpec;
pub use read::{Document, Object, Read, read};
pub use runner_scale_set::{
    AppCredentials, CachePath, CacheType, CertificateAuthority, ContainerMode, Credentials, Docker, DockerStart,
    FreeForm, JobHooks, KeyReference, Layer, Nix, Proxy, RunnerScaleSetSpec, Timeouts, Tls,
};
pub use status::{Condition, InstanceStatus, RunnerScaleSetStatus};

/// The API group and version of our kinds.
pub const API_VERSION: &str = "deskrun.dev/v1alpha1";
