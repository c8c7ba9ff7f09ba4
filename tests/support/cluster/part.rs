//! One process of a control plane.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::RngExt;

/// How often a process is looked at that says nothing of being ready.
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_mins(2);

/// A process that ends with this value and with the test's process, however that ends.
pub struct Part {
    name: String,
    child: Child,
    /// Kills it when its standard input closes. (Linux would signal it when the starting *thread* ends.)
    watcher: Child,
    log: PathBuf,
}

impl Part {
    /// Starts a command; its output goes to `NAME.log` in the folder.
    pub fn start(name: &str, command: &mut Command, folder: &Path) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot start {name}: {error}");
        let log = folder.join(format!("{name}.log"));
        let output = File::options().create(true).append(true).open(&log).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(output.try_clone().map_err(failed)?).stderr(output);
        // In a group of its own Ctrl-C does not reach it: it is this process's to end.
        let child = command.process_group(0).spawn().map_err(failed)?;
        let mut watcher = Command::new("/bin/sh");
        watcher.args(["-c", "read -r _; kill -KILL \"$1\"", "watcher"]).arg(child.id().to_string());
        watcher.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let watcher = watcher.process_group(0).spawn().map_err(failed)?;
        Ok(Self { name: name.to_owned(), child, watcher, log })
    }

    /// Waits until something is so, which cannot be awaited; the error is the end of the log.
    pub async fn until<F: Future<Output = bool>>(&mut self, so: impl Fn() -> F) -> Result<(), String> {
        let started = Instant::now();
        while !so().await {
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || started.elapsed() > PATIENCE {
                let text = std::fs::read_to_string(&self.log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let end = lines[lines.len().saturating_sub(15)..].join("\n");
                let state = ended.map_or("is not ready".to_owned(), |status| format!("ended with {status}"));
                return Err(format!("{} {state}:\n{end}", self.name));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it and waits for its end.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // The watcher first: it must not outlive the id that it kills.
        for child in [&mut self.watcher, &mut self.child] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.end();
    }
}

/// A free port below those that outgoing connections get, so that it is still free after a restart.
pub fn free_port() -> u16 {
    let mut random = rand::rng();
    loop {
        let port = random.random_range(20_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
