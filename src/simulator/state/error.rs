//! How a request is refused: each variant is one answer that GitHub gives, with its status and exception.

/// A refusal. Its text is the `message` of the answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// REST: bad credentials.
    #[error("Bad credentials")]
    BadCredentials,
    /// REST: the credential is fine and may not do this.
    #[error("Resource not accessible by integration")]
    Forbidden,
    /// REST: no such thing, or no permission to see it.
    #[error("Not Found")]
    NotFound,
    /// No such route: a bare router's answer.
    #[error("404 page not found")]
    NoRoute,
    /// The Actions service was called beside its base path.
    #[error("Invalid Claims")]
    InvalidClaims,
    /// An admin token that is not known, not live any more, or of another scope.
    #[error("The token is not valid or has expired.")]
    InvalidToken,
    /// A queue token or runner secret that is not current; the body is empty.
    #[error("the token is not current")]
    Unauthorized,
    /// The capacity header is not a count.
    #[error("X-ScaleSetMaxCapacity must be an integer that is not negative")]
    BadCapacity,
    /// The request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// No such scale set.
    #[error("The runner scale set {0} could not be found.")]
    ScaleSetNotFound(i64),
    /// The name is taken in that runner group.
    #[error("The runner scale set {0} already exists.")]
    ScaleSetExists(String),
    /// A job is attached to a runner of the set.
    #[error("Runner scale set {0} has runners with running jobs and cannot be deleted.")]
    ScaleSetBusy(i64),
    /// No such runner group.
    #[error("The runner group {0} could not be found.")]
    GroupNotFound(i64),
    /// A session is live.
    #[error("The runner scale set {set} already has an active session for owner {owner}.")]
    SessionConflict {
        /// The scale set's name.
        set: String,
        /// Whose session is live.
        owner: String,
    },
    /// Delete of a session that is gone.
    #[error("The session identifier {0} is not valid.")]
    SessionExpired(String),
    /// Refresh of a session that is gone.
    #[error("Session {0} not found in redis.")]
    SessionLost(String),
    /// The runner's name is taken.
    #[error("A runner with the name {0} already exists.")]
    RunnerExists(String),
    /// No such runner.
    #[error("The runner {0} could not be found.")]
    RunnerNotFound(i64),
    /// The runner has a job.
    #[error("Runner {id} is currently running a job and cannot be deleted.")]
    JobStillRunning {
        /// The runner.
        id: i64,
        /// The status to answer with: a lever.
        status: u16,
    },
    /// The runner is online already (route of the stand-in).
    #[error("runner {0} is already online")]
    RunnerOnline(i64),
    /// The runner's registration was deleted (route of the stand-in).
    #[error("the registration of runner {0} is deleted")]
    RunnerGone(i64),
    /// A token could not be signed.
    #[error("a token could not be signed: {0}")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

/// How the body of a refusal looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// GitHub's REST shape.
    Rest,
    /// Plain text.
    Text,
    /// Nothing.
    Empty,
    /// A service exception with this namespace and name.
    Exception(&'static str, &'static str),
}

const RUNTIME: &str = "GitHub.Actions.Runtime.WebApi";
const TASKS: &str = "GitHub.DistributedTask.WebApi";
const SERVICES: &str = "GitHub.Services.WebApi";

impl Refusal {
    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::BadCredentials | Self::InvalidToken | Self::Unauthorized | Self::InvalidClaims => 401,
            Self::Forbidden => 403,
            Self::NotFound
            | Self::NoRoute
            | Self::ScaleSetNotFound(_)
            | Self::GroupNotFound(_)
            | Self::SessionLost(_)
            | Self::RunnerNotFound(_) => 404,
            Self::SessionConflict { .. } | Self::RunnerExists(_) | Self::RunnerOnline(_) => 409,
            Self::RunnerGone(_) => 410,
            Self::JobStillRunning { status, .. } => *status,
            Self::BadCapacity
            | Self::BadRequest(_)
            | Self::ScaleSetExists(_)
            | Self::ScaleSetBusy(_)
            | Self::SessionExpired(_) => 400,
            Self::Signing(_) => 500,
        }
    }

    /// The body's shape.
    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::BadCredentials | Self::Forbidden | Self::NotFound => Shape::Rest,
            Self::NoRoute
            | Self::InvalidClaims
            | Self::BadCapacity
            | Self::RunnerOnline(_)
            | Self::RunnerGone(_)
            | Self::Signing(_) => Shape::Text,
            Self::Unauthorized => Shape::Empty,
            Self::InvalidToken => Shape::Exception(SERVICES, "InvalidTokenException"),
            Self::BadRequest(_) => Shape::Exception(SERVICES, "InvalidArgumentException"),
            Self::ScaleSetNotFound(_) => Shape::Exception(RUNTIME, "RunnerScaleSetNotFoundException"),
            Self::ScaleSetExists(_) => Shape::Exception(RUNTIME, "RunnerScaleSetExistsException"),
            Self::GroupNotFound(_) => Shape::Exception(RUNTIME, "RunnerGroupNotFoundException"),
            Self::SessionConflict { .. } => Shape::Exception(RUNTIME, "RunnerScaleSetSessionConflictException"),
            Self::SessionExpired(_) => Shape::Exception(RUNTIME, "RunnerScaleSetSessionExpiredException"),
            Self::SessionLost(_) => Shape::Exception(RUNTIME, "RunnerAdminException"),
            Self::RunnerExists(_) => Shape::Exception(TASKS, "AgentExistsException"),
            Self::RunnerNotFound(_) => Shape::Exception(TASKS, "AgentNotFoundException"),
            Self::JobStillRunning { .. } | Self::ScaleSetBusy(_) => Shape::Exception(TASKS, "JobStillRunningException"),
        }
    }
}
