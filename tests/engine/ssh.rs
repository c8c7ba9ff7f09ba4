//! The way through SSH, with a server of the test's own on a loopback port.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use deskrun::crd::PodmanHostSpec;
use deskrun::engine::podman::{PodmanAddress, PodmanEngine};
use deskrun::engine::{Engine, EngineError, Observation};
use futures::StreamExt;
use libtest_mimic::Trial;
use tokio::process::{Child, Command};

use crate::bench::{Behaviour, Bench};
use crate::conformance::{GRACE, runner, secret};
use crate::podman_bench::PodmanBench;
use crate::watcher::Watcher;

pub fn trials(bench: Option<&Arc<PodmanBench>>, runtime: &tokio::runtime::Runtime) -> Vec<Trial> {
    let test =
        |bench: Arc<PodmanBench>| async move { a_host_is_reached_through_ssh_and_only_with_its_own_key(&bench).await };
    vec![crate::trial(
        "a_host_is_reached_through_ssh_and_only_with_its_own_key",
        "podman",
        bench.cloned(),
        runtime,
        test,
    )]
}

/// `sshd` on a free port, with a host key and an account's keys of its own.
struct SshServer {
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl SshServer {
    async fn new(folder: PathBuf) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        for key in ["host", "client", "stranger"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(key));
            assert!(keygen.status().await.expect("openssh-client is installed").success());
        }
        std::fs::copy(folder.join("client.pub"), folder.join("authorized_keys")).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { folder, port, process: None };
        server.start().await;
        server
    }

    async fn start(&mut self) {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let settings = format!(
            "ListenAddress 127.0.0.1:{}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\n\
             PasswordAuthentication no\nPermitRootLogin prohibit-password\nAllowStreamLocalForwarding yes\nLogLevel ERROR\n",
            self.port,
            file("host"),
            file("authorized_keys"),
        );
        std::fs::write(self.folder.join("sshd_config"), settings).unwrap();
        // It wants this folder, and an absolute path to start itself again.
        std::fs::create_dir_all("/run/sshd").unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(self.folder.join("sshd_config")).stdin(Stdio::null()).kill_on_drop(true);
        let log = std::fs::File::create(self.folder.join("log")).unwrap();
        let mut process = command.stderr(log).spawn().expect("openssh-server is installed");
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(
                process.try_wait().unwrap().is_none(),
                "{}",
                std::fs::read_to_string(self.folder.join("log")).unwrap()
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        self.process = Some(process);
    }

    /// Ends the server with all its connections.
    async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let id = process.id().expect("it runs").to_string();
        let of_it = Command::new("pkill").args(["-9", "-P", &id]).status().await.expect("procps is installed");
        assert!(of_it.success(), "there were connections");
        process.kill().await.unwrap();
    }

    fn know(&self, key: &str) {
        let key = std::fs::read_to_string(self.folder.join(key).with_extension("pub")).unwrap();
        let line = format!("[127.0.0.1]:{} {key}", self.port);
        std::fs::write(self.folder.join("known_hosts"), line).unwrap();
    }

    fn engine(&self, socket: &Path, identity: &str) -> PodmanEngine {
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let text = |name: &str| Some(self.folder.join(name).display().to_string());
        let spec = PodmanHostSpec {
            url: format!("ssh://{user}@127.0.0.1:{}{}", self.port, socket.display()),
            identity_file: text(identity),
            known_hosts: text("known_hosts"),
            on_this_host: false,
        };
        PodmanEngine::new(&PodmanAddress::new(&spec, None).unwrap())
    }
}

async fn a_host_is_reached_through_ssh_and_only_with_its_own_key(bench: &PodmanBench) {
    let mut server = SshServer::new(bench.folder.path().join("ssh")).await;
    let socket = bench.podman.socket();
    let refusal = |engine: PodmanEngine| async move {
        match engine.sweep("nobody").await.unwrap_err() {
            EngineError::Refused { message, .. } => message,
            other => panic!("{other:?}"),
        }
    };

    let message = refusal(server.engine(&socket, "client")).await;
    assert!(message.contains("is not known") && message.contains("ssh-keyscan -p"), "{message}");
    server.know("stranger");
    let message = refusal(server.engine(&socket, "client")).await;
    assert!(message.contains("is not the one in") && message.contains("ssh-keygen -R"), "{message}");
    let said = server.engine(&socket, "client").observe().next().await;
    assert!(matches!(&said, Some(Observation::Unreachable(words)) if words.contains("ssh-keygen -R")), "{said:?}");
    server.know("host");
    let message = refusal(server.engine(&socket, "stranger")).await;
    assert!(message.contains("does not let") && message.contains("authorized_keys"), "{message}");
    let message = refusal(server.engine(&socket, "no-such-key")).await;
    assert!(message.contains("there is no private key"), "{message}");
    let elsewhere = server.engine(Path::new("/no/such/podman.sock"), "client").sweep("nobody").await.unwrap_err();
    assert!(matches!(elsewhere, EngineError::Unreachable { .. }), "{elsewhere:?}");

    let engine = server.engine(&socket, "client");
    let runner = runner("remote", Behaviour::Waits);
    let mut watcher = Watcher::new(&engine).await;
    engine.ensure(&bench.manifest(&runner), &secret()).await.unwrap();
    watcher.until_running(&runner.name).await;

    // The connection breaks; the next one is opened without being asked for.
    server.stop().await;
    while !matches!(watcher.next().await, Observation::Unreachable(_)) {}
    server.start().await;
    while !matches!(watcher.next().await, Observation::Snapshot(_)) {}
    watcher.until_running(&runner.name).await;
    engine.remove(&runner.name, GRACE).await.unwrap();
    watcher.until_gone(&runner.name).await;
    assert_eq!(bench.leftovers(&runner.name).await, Vec::<String>::new());
}
