//! Where a Podman host listens: a [`PodmanHostSpec`] that cannot be wrong. Nothing is connected here.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::crd::PodmanHostSpec;

/// A Podman host and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodmanAddress {
    pub(super) way: Way,
}

/// How the socket is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A socket of the machine this process runs on.
    Local(PathBuf),
    /// A socket of another machine, through an SSH connection.
    Ssh(SshTarget),
}

/// The far end of an SSH connection and what proves it and us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SshTarget {
    pub(super) user: String,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) socket: String,
    /// Private keys in the order in which they are tried.
    pub(super) identities: Vec<PathBuf>,
    pub(super) known_hosts: PathBuf,
}

/// An address that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither form.
    #[error("`{0}` is no address of a Podman host: write `ssh://user@host[:port]/path/podman.sock`")]
    Form(String),
    /// No user in front of the host.
    #[error("`{0}` names no user: write `ssh://user@host…`, as nobody in particular logs in by default")]
    User(String),
    /// A port that is no number.
    #[error("`{0}` has no usable port: a number from 1 to 65535 stands behind the host")]
    Port(String),
    /// A secret in the URL.
    #[error("the address holds a password; only keys are used: remove it, and give `identityFile`")]
    Password,
    /// No socket on the far side.
    #[error("`{0}` names no socket: rootful Podman listens on `/run/podman/podman.sock`")]
    Socket(String),
    /// A local socket where none is allowed.
    #[error(
        "`{0}` is a socket of this machine: runners belong on hosts of their own, as a privileged job owns the machine \
         it runs on. If this is such a host, say so with `onThisHost: true`"
    )]
    NotOnThisHost(String),
    /// A field that means nothing for a local socket.
    #[error("`{0}` has no meaning for a socket of this machine: remove it")]
    Meaningless(&'static str),
    /// The reverse of `NotOnThisHost`.
    #[error("`onThisHost: true` stands beside an `ssh://` address: give `unix:///PATH`, or remove it")]
    SshOnThisHost,
    /// Defaults need a home.
    #[error("`HOME` is not set: give `identityFile` and `knownHosts`")]
    Home,
}

impl PodmanAddress {
    /// Judges a spec. `home` is where `.ssh` lies: for the defaults, and for paths that begin with `~/`.
    pub fn new(spec: &PodmanHostSpec, home: Option<&Path>) -> Result<Self, AddressError> {
        let PodmanHostSpec { url, identity_file, known_hosts, on_this_host } = spec;
        if let Some(path) = url.strip_prefix("unix://") {
            let fields = [("identityFile", identity_file), ("knownHosts", known_hosts)];
            return match fields.iter().find(|(_, value)| value.is_some()) {
                _ if !path.starts_with('/') => Err(AddressError::Form(url.clone())),
                _ if !on_this_host => Err(AddressError::NotOnThisHost(url.clone())),
                Some((field, _)) => Err(AddressError::Meaningless(field)),
                None => Ok(Self { way: Way::Local(path.into()) }),
            };
        }
        let rest = url.strip_prefix("ssh://").ok_or_else(|| AddressError::Form(url.clone()))?;
        if *on_this_host {
            return Err(AddressError::SshOnThisHost);
        }
        let (authority, socket) = rest.split_once('/').ok_or_else(|| AddressError::Socket(url.clone()))?;
        let (user, place) = authority.rsplit_once('@').ok_or_else(|| AddressError::User(url.clone()))?;
        if user.contains(':') {
            return Err(AddressError::Password);
        }
        if user.is_empty() {
            return Err(AddressError::User(url.clone()));
        }
        if socket.is_empty() || socket.ends_with('/') {
            return Err(AddressError::Socket(url.clone()));
        }
        let (host, port) = host_and_port(place).ok_or_else(|| AddressError::Port(url.clone()))?;
        if host.is_empty() {
            return Err(AddressError::Form(url.clone()));
        }
        let from_home = |path: &str| match path.strip_prefix("~/") {
            Some(rest) => home.map(|home| home.join(rest)).ok_or(AddressError::Home),
            None => Ok(PathBuf::from(path)),
        };
        let identities = match identity_file {
            Some(file) => vec![from_home(file)?],
            None => ["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"]
                .into_iter()
                .map(from_home)
                .collect::<Result<_, _>>()?,
        };
        let known_hosts = from_home(known_hosts.as_deref().unwrap_or("~/.ssh/known_hosts"))?;
        let (user, host, socket) = (user.to_owned(), host.to_owned(), format!("/{socket}"));
        Ok(Self { way: Way::Ssh(SshTarget { user, host, port, socket, identities, known_hosts }) })
    }
}

/// `host`, `host:22`, `[::1]`, `[::1]:22`.
fn host_and_port(place: &str) -> Option<(&str, u16)> {
    const SSH: u16 = 22;
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, behind) = rest.split_once(']')?;
            (host, if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) })
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => SSH,
    };
    Some((host, port))
}

impl fmt::Display for PodmanAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Local(path) => write!(formatter, "Podman at {}", path.display()),
            Way::Ssh(SshTarget { user, host, port, socket, .. }) => {
                write!(formatter, "Podman at {user}@{host}:{port}{socket}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str, on_this_host: bool) -> Result<PodmanAddress, AddressError> {
        let spec = PodmanHostSpec { url: url.to_owned(), identity_file: None, known_hosts: None, on_this_host };
        PodmanAddress::new(&spec, Some(Path::new("/home/jo")))
    }

    #[test]
    fn an_ssh_address_has_defaults_for_all_that_it_leaves_out() {
        let Way::Ssh(target) = read("ssh://root@metal-1/run/podman/podman.sock", false).unwrap().way else { panic!() };
        assert_eq!((target.user.as_str(), target.host.as_str(), target.port), ("root", "metal-1", 22));
        assert_eq!(target.socket, "/run/podman/podman.sock");
        assert_eq!(target.identities[0], Path::new("/home/jo/.ssh/id_ed25519"));
        assert_eq!(target.known_hosts, Path::new("/home/jo/.ssh/known_hosts"));
        let Way::Ssh(target) = read("ssh://root@[fd00::7]:2222/p.sock", false).unwrap().way else { panic!() };
        assert_eq!((target.host.as_str(), target.port), ("fd00::7", 2222));
    }

    #[test]
    fn a_local_socket_needs_a_word_that_this_is_the_host() {
        assert!(matches!(read("unix:///run/podman/podman.sock", false), Err(AddressError::NotOnThisHost(_))));
        assert_eq!(read("unix:///run/p.sock", true).unwrap().way, Way::Local("/run/p.sock".into()));
    }

    #[test]
    fn what_is_no_address_is_refused_for_its_own_reason() {
        let refused = |url| read(url, false).unwrap_err();
        assert!(matches!(refused("tcp://metal-1:2375"), AddressError::Form(_)));
        assert!(matches!(refused("ssh://metal-1/p.sock"), AddressError::User(_)));
        assert!(matches!(refused("ssh://root@metal-1"), AddressError::Socket(_)));
        assert!(matches!(refused("ssh://root@metal-1/"), AddressError::Socket(_)));
        assert!(matches!(refused("ssh://root@metal-1:x/p.sock"), AddressError::Port(_)));
        assert!(matches!(refused("ssh://root@metal-1:0/p.sock"), AddressError::Port(_)));
        assert!(!refused("ssh://root:hunter2@metal-1/p.sock").to_string().contains("hunter2"));
        assert!(matches!(read("ssh://root@metal-1/p.sock", true), Err(AddressError::SshOnThisHost)));
    }
}
