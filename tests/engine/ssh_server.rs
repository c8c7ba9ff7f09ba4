//! An SSH server of the test's own on a loopback port.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use deskrun::crd::PodmanHostSpec;
use tokio::process::{Child, Command};

/// `sshd` on a free port, with a host key and an account's keys of its own.
pub struct SshServer {
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl SshServer {
    pub async fn new(folder: PathBuf) -> Self {
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

    pub async fn start(&mut self) {
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
    pub async fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let id = process.id().expect("it runs").to_string();
        let of_it = Command::new("pkill").args(["-9", "-P", &id]).status().await.expect("procps is installed");
        assert!(of_it.success(), "there were connections");
        process.kill().await.unwrap();
    }

    pub fn know(&self, key: &str) {
        let key = std::fs::read_to_string(self.folder.join(key).with_extension("pub")).unwrap();
        let line = format!("[127.0.0.1]:{} {key}", self.port);
        std::fs::write(self.folder.join("known_hosts"), line).unwrap();
    }

    /// The host document of a socket, reached with a key of this server's folder.
    pub fn host(&self, socket: &Path, identity: &str) -> PodmanHostSpec {
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let text = |name: &str| Some(self.folder.join(name).display().to_string());
        PodmanHostSpec {
            url: format!("ssh://{user}@127.0.0.1:{}{}", self.port, socket.display()),
            identity_file: text(identity),
            known_hosts: text("known_hosts"),
            on_this_host: false,
        }
    }
}
