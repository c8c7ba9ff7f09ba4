//! Where a controller keeps what has no other home, and how it makes sure that it is alone there.

use std::fs::{File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::listener::FileMemory;

/// What a command is told about the place of a controller that runs in its own process.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct PlaceArguments {
    /// Where `deskrun status` asks; `$XDG_RUNTIME_DIR/deskrun.sock` if not given
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) socket: Option<PathBuf>,
    /// Where the ids of message sessions are kept; `${XDG_STATE_HOME:-~/.local/state}/deskrun` if not given
    #[arg(long, value_name = "FOLDER")]
    pub(in crate::cli) state: Option<PathBuf>,
    /// Id of this controller, by which it knows its own runners; made of this host and the state folder if not given
    #[arg(long, value_name = "ID")]
    controller: Option<String>,
}

impl PlaceArguments {
    /// Where a controller of these arguments listens.
    pub(in crate::cli) fn socket(&self) -> anyhow::Result<PathBuf> {
        socket_path(self.socket.as_deref(), self.state.as_deref())
    }
}

/// The places of one controller. Held as long as it lives.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Place {
    /// The controller's id.
    pub(in crate::cli) controller: String,
    state: PathBuf,
    socket: PathBuf,
    /// Two controllers with one state would take each other's runners for their own.
    _lock: Arc<File>,
}

impl Place {
    /// Takes the state folder, or says who has it.
    pub(in crate::cli) fn take(arguments: &PlaceArguments) -> anyhow::Result<Self> {
        let PlaceArguments { socket, state, controller } = arguments;
        let state = state_folder(state.as_deref())?;
        std::fs::create_dir_all(&state).with_context(|| format!("cannot make the state folder {}", state.display()))?;
        let state =
            state.canonicalize().with_context(|| format!("cannot find the state folder {}", state.display()))?;
        let path = state.join("lock");
        let lock = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "another controller runs with the state folder {}: stop it, or give this one another `--state`",
                state.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        let socket = socket_path(socket.as_deref(), Some(&state))?;
        let controller = match controller {
            Some(id) => id_given(id)?,
            None => id_of_host(&state),
        };
        Ok(Self { controller, state, socket, _lock: Arc::new(lock) })
    }

    /// Whom GitHub shows as the owner of message sessions.
    pub(super) fn owner(&self) -> String {
        format!("deskrun-{}", self.controller)
    }

    /// Where a scale set's ids are remembered.
    pub(super) fn memory(&self, key: &str) -> FileMemory {
        FileMemory(self.state.join("scale-sets").join(hash(key, 8)))
    }

    /// Listens for `deskrun status`, for the user alone.
    pub(super) fn bind(&self) -> anyhow::Result<UnixListener> {
        let path = self.socket.display();
        if UnixStream::connect(&self.socket).is_ok() {
            bail!("another controller answers at {path}: give this one another `--socket`");
        }
        match std::fs::remove_file(&self.socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot replace {path}"));
            }
            _ => {}
        }
        if let Some(folder) = self.socket.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let listener = UnixListener::bind(&self.socket).with_context(|| format!("cannot listen on {path}"))?;
        std::fs::set_permissions(&self.socket, std::fs::Permissions::from_mode(0o600))
            .with_context(|| format!("cannot protect {path}"))?;
        listener.set_nonblocking(true).with_context(|| format!("cannot listen on {path}"))?;
        Ok(listener)
    }

    /// Removes the socket. What is kept of sessions stays.
    pub(super) fn leave(&self) {
        // A socket that is left over is replaced by the next start.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// The id that a controller of this place has, or would have. Nothing is taken or made.
pub(in crate::cli) fn controller_id(arguments: &PlaceArguments) -> anyhow::Result<String> {
    if let Some(id) = &arguments.controller {
        return id_given(id);
    }
    let state = state_folder(arguments.state.as_deref())?;
    let state = match state.canonicalize() {
        Ok(state) => state,
        // It is made by the first start.
        Err(_) => {
            std::path::absolute(&state).with_context(|| format!("cannot find the state folder {}", state.display()))?
        }
    };
    Ok(id_of_host(&state))
}

/// Where a controller's socket is: what is given, or the default.
pub(in crate::cli) fn socket_path(socket: Option<&Path>, state: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(socket) = socket {
        return Ok(socket.to_owned());
    }
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|runtime| !runtime.is_empty()).map(PathBuf::from);
    Ok(runtime.map_or_else(|| state_folder(state), Ok)?.join("deskrun.sock"))
}

fn state_folder(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let base = std::env::var_os("XDG_STATE_HOME").filter(|state| !state.is_empty()).map(PathBuf::from);
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")));
    Ok(base.context("there is no home folder: give `--state FOLDER`, or set `XDG_STATE_HOME`")?.join("deskrun"))
}

fn id_given(id: &str) -> anyhow::Result<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if id.is_empty() || id.len() > 63 || !id.bytes().all(allowed) || id.starts_with('-') || id.ends_with('-') {
        bail!("`--controller {id}`: an id has 1 to 63 letters, digits and `-`, and neither begins nor ends with `-`");
    }
    Ok(id.to_owned())
}

/// The same after every start, without a file that could be lost: losing it would leave all runners behind.
fn id_of_host(state: &Path) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let host = format!("{} {} {}", read("/etc/machine-id"), read("/proc/sys/kernel/hostname"), state.display());
    hash(&host, 6)
}

fn hash(text: &str, bytes: usize) -> String {
    Sha256::digest(text.as_bytes()).iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}
