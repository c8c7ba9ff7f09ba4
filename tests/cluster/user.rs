//! Someone who uses the command line on a cluster: a folder, a kubeconfig, commands as processes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Cluster;
use crate::cluster::ControlPlane;
use crate::support::command::Finished;
use crate::world::TOKEN;

/// Killed when the test is over, however it ends.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Someone with files and a kubeconfig.
pub struct User {
    folder: tempfile::TempDir,
    kubeconfig: PathBuf,
}

impl User {
    pub fn new(cluster: &Cluster) -> Self {
        Self::of(&cluster.control_plane)
    }

    pub fn of(control_plane: &ControlPlane) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), TOKEN).expect("a file");
        Self { folder, kubeconfig: control_plane.kubeconfig() }
    }

    /// Someone with the rights of this name.
    pub fn called(name: &str, control_plane: &ControlPlane) -> Self {
        Self::with(control_plane, |kubeconfig| kubeconfig["users"][0]["user"]["as"] = json!(name))
    }

    /// Someone whose kubeconfig differs.
    pub fn with(control_plane: &ControlPlane, change: impl Fn(&mut Value)) -> Self {
        let user = Self::of(control_plane);
        let text = std::fs::read_to_string(&user.kubeconfig).expect("a kubeconfig");
        let mut kubeconfig: Value = serde_json::from_str(&text).expect("JSON");
        change(&mut kubeconfig);
        let path = user.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig.to_string()).expect("a file");
        Self { kubeconfig: path, ..user }
    }

    /// Starts a command that goes on; its output goes to a file.
    pub fn start(&self, arguments: &[&str], output: &str) -> Process {
        let file = File::create(self.path().join(output)).expect("a file");
        Process(self.command(arguments).stdout(file).spawn().expect("it starts"))
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_default()
    }

    /// Waits until one of two runners shows its job.
    pub async fn until_noted(&self, namespace: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let status = self.succeeds(&["status", "-n", namespace, "-o", "json"]).await;
            let status: Value = serde_json::from_str(&status.stdout).expect("JSON");
            let runners = status["runners"].as_array().expect("a list");
            if runners.len() == 2 && runners.iter().filter(|runner| runner["job"].is_string()).count() == 1 {
                return;
            }
            assert!(Instant::now() < end, "no job is noted: {status:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).expect("a file");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deskrun"));
        command.args(arguments).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", self.path());
        command
    }

    pub async fn succeeds(&self, arguments: &[&str]) -> Finished {
        let finished = self.deskrun(arguments).await;
        assert_eq!(finished.code, Some(0), "{arguments:?}: {}{}", finished.stdout, finished.stderr);
        finished
    }

    pub async fn deskrun(&self, arguments: &[&str]) -> Finished {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs");
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("text"),
            stderr: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

/// A document whose credentials are in a file.
pub fn scale_set(name: &str, url: &str) -> String {
    format!(
        "apiVersion: deskrun.dev/v1alpha1\nkind: RunnerScaleSet\nmetadata: {{name: {name}}}\nspec:\n  \
         githubConfigUrl: {url}\n  containerMode: kubernetes-novolume\n  credentials: {{patFile: token}}\n"
    )
}
