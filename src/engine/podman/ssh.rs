//! The SSH connection to a Podman host: one for all requests, opened again when it broke.
//!
//! The host proves itself by a key that the user already knows; nothing is learned on first use. We prove ourselves by
//! a private key in a file without a passphrase.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::known_hosts::known_host_keys_path;
use russh::keys::{Algorithm, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate, load_secret_key};
use tokio::sync::Mutex;

use super::address::SshTarget;
use super::connection::{BoxedStream, ConnectError};

/// A host that is gone without a word is noticed after three of these.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The way through SSH.
pub(super) struct SshWay {
    target: SshTarget,
    session: Mutex<Option<Arc<Handle<KnownHost>>>>,
}

impl SshWay {
    pub(super) fn new(target: SshTarget) -> Self {
        Self { target, session: Mutex::default() }
    }

    /// A stream to the socket on the far side.
    pub(super) async fn open(&self) -> Result<BoxedStream, ConnectError> {
        let session = self.session().await?;
        match session.channel_open_direct_streamlocal(&self.target.socket).await {
            Ok(channel) => Ok(Box::new(channel.into_stream())),
            Err(russh::Error::ChannelOpenFailure(_)) => Err(ConnectError::Far(format!(
                "{} does not open {}: is Podman's socket there (`systemctl enable --now podman.socket`), may {} use it, \
                 and does the SSH server allow stream forwarding (`AllowStreamLocalForwarding`)?",
                self.target.host, self.target.socket, self.target.user
            ))),
            Err(error) => {
                // Whatever broke, the next call begins anew.
                *self.session.lock().await = None;
                Err(ConnectError::Ssh(error))
            }
        }
    }

    async fn session(&self) -> Result<Arc<Handle<KnownHost>>, ConnectError> {
        let mut session = self.session.lock().await;
        if let Some(open) = session.as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let opened = Arc::new(self.log_in().await?);
        *session = Some(opened.clone());
        Ok(opened)
    }

    async fn log_in(&self) -> Result<Handle<KnownHost>, ConnectError> {
        let SshTarget { user, host, port, known_hosts, .. } = &self.target;
        let known = known_host_keys_path(host, *port, known_hosts)
            .map_err(|error| ConnectError::Refused(format!("cannot read {}: {error}", known_hosts.display())))?;
        let known: Vec<PublicKey> = known.into_iter().map(|(_, key)| key).collect();
        let mut config =
            client::Config { keepalive_interval: Some(KEEP_ALIVE), nodelay: true, ..client::Config::default() };
        // The server shows the key of the first algorithm both sides know: it must be one that we can compare.
        let mut algorithms: Vec<Algorithm> = config.preferred.key.to_vec();
        algorithms.sort_by_key(|algorithm| !known.iter().any(|key| same_kind(&key.algorithm(), algorithm)));
        config.preferred.key = Cow::Owned(algorithms);
        let judge = KnownHost { known, place: place(host, *port), file: known_hosts.display().to_string() };
        let mut handle = client::connect(Arc::new(config), (host.as_str(), *port), judge).await?;
        let mut tried = Vec::new();
        for identity in &self.target.identities {
            if !identity.exists() {
                continue;
            }
            tried.push(identity.display().to_string());
            if authenticate(&mut handle, user, identity).await? {
                return Ok(handle);
            }
        }
        Err(ConnectError::Refused(if tried.is_empty() {
            let looked: Vec<String> = self.target.identities.iter().map(|path| path.display().to_string()).collect();
            format!("there is no private key: looked for {}; give `identityFile`", looked.join(", "))
        } else {
            format!("{host} does not let {user} in with {}: is the key in its `authorized_keys`?", tried.join(", "))
        }))
    }
}

async fn authenticate(handle: &mut Handle<KnownHost>, user: &str, identity: &Path) -> Result<bool, ConnectError> {
    let key = load_secret_key(identity, None).map_err(|error| {
        ConnectError::Refused(format!(
            "the private key {} cannot be used: {error}; a passphrase cannot be asked for here",
            identity.display()
        ))
    })?;
    let hash = handle.best_supported_rsa_hash().await?.flatten();
    let answer = handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(Arc::new(key), hash)).await?;
    Ok(answer.success())
}

fn same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    one == other || matches!((one, other), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

fn place(host: &str, port: u16) -> String {
    if port == 22 { host.to_owned() } else { format!("[{host}]:{port}") }
}

/// Judges the host's key.
struct KnownHost {
    known: Vec<PublicKey>,
    place: String,
    file: String,
}

impl client::Handler for KnownHost {
    type Error = ConnectError;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, ConnectError> {
        let PublicKeyOrCertificate::PublicKey { key: shown, .. } = shown else {
            return Err(ConnectError::Refused(format!("{} shows a certificate instead of a host key", self.place)));
        };
        if self.known.iter().any(|key| key.key_data() == shown.key_data()) {
            return Ok(true);
        }
        let (place, file) = (&self.place, &self.file);
        let port = place.rsplit_once("]:").map_or(String::new(), |(_, port)| format!("-p {port} "));
        let host = place.trim_start_matches('[').split(']').next().unwrap_or_default();
        let fingerprint = shown.fingerprint(russh::keys::HashAlg::Sha256);
        Err(ConnectError::Refused(if self.known.is_empty() {
            format!(
                "the host key of {place} is not known: it shows {fingerprint}. Compare that with the host's own, then \
                 `ssh-keyscan {port}{host} >> {file}`"
            )
        } else {
            format!(
                "the host key of {place} is not the one in {file}: it shows {fingerprint}. Someone may be in between. If \
                 the host was set up anew, `ssh-keygen -R '{place}' -f {file}` and add its new key"
            )
        }))
    }
}
