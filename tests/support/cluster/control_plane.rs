//! etcd, API server, controller manager and scheduler: started, restarted, stopped.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::part::{Part, free_port};
use super::programs::Programs;
use super::{Network, access, definition, etcd, folder};

/// Signs the tokens of service accounts; made for tests.
const ACCOUNT_KEY: &str = include_str!("../../simulator/app-key.pem");
/// Those that the objects of the tests need: without them nothing is scheduled, admitted or cleared away.
const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,serviceaccount-controller,\
    root-ca-certificate-publisher-controller,node-lifecycle-controller,taint-eviction-controller,\
    pod-garbage-collector-controller,resourcequota-controller,deployment-controller,replicaset-controller,\
    ephemeral-volume-controller";

/// What a control plane is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Write an audit log of every request, for [`ControlPlane::audit`].
    pub audit: bool,
    /// Make `RunnerScaleSet` known before anything else looks. The garbage collector looks for new kinds every half minute
    /// only, and does not touch what belongs to a kind that it does not know.
    pub definition: bool,
    /// Run the scheduler. Without it the fake kubelet may bind pods itself.
    pub scheduler: bool,
    /// For a real kubelet on this machine: it is called by its node's name, and services get addresses of this network.
    pub network: Option<Network>,
    /// After how many seconds pods on a node that is lost are deleted; Kubernetes' own default is 300.
    pub lost_after: Option<u32>,
    /// More flags for the API server.
    pub api_server: Vec<String>,
    /// More flags for the controller manager.
    pub controller_manager: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            audit: false,
            definition: true,
            scheduler: true,
            network: None,
            lost_after: None,
            api_server: Vec::new(),
            controller_manager: Vec::new(),
        }
    }
}

/// A control plane of the test's own. It ends with this value and with the process.
pub struct ControlPlane {
    // Before the folder, so that nothing writes into it when it goes.
    parts: Mutex<Parts>,
    programs: Programs,
    flags: Vec<String>,
    etcd: String,
    url: String,
    admin: Client,
    folder: tempfile::TempDir,
    names: AtomicU32,
}

#[derive(Default)]
struct Parts {
    // Fields end in this order: those that talk to others first.
    clients: Vec<Part>,
    api_server: Option<Part>,
    etcd: Option<Part>,
}

impl ControlPlane {
    /// Starts one; it is ready when this returns.
    pub async fn start(options: Options) -> Result<Self, String> {
        let programs = Programs::find()?;
        let folder = folder::make("cluster")?;
        let path = folder.path();
        let etcd = start_etcd(&programs, path).await?;
        let port = free_port();
        let url = format!("https://127.0.0.1:{port}");
        let token: String = format!("{:032x}", rand::random::<u128>());
        let file = |name: &str, text: &str| {
            std::fs::write(path.join(name), text).map_err(|error| format!("cannot write {name}: {error}"))
        };
        file("account.key", ACCOUNT_KEY)?;
        file("tokens", &format!("{token},admin,admin,system:masters\n"))?;
        file("audit-policy", &audit_policy().to_string())?;
        let mut parts = Parts { etcd: Some(etcd.1), ..Parts::default() };
        let flags = api_server_flags(path, &etcd.0, port, &options);
        parts.api_server = Some(start_api_server(&programs, &flags, &url, path).await?);
        access::write(&path.join("admin"), &url, &path.join("apiserver.crt"), &token, "default")?;
        let admin = access::client(&path.join("admin")).await?;
        if options.definition {
            definition::establish(&admin).await?;
        }
        let controllers = controller_manager(&programs, path, &options);
        parts.clients.push(Part::start("controller-manager", &mut { controllers }, path)?);
        if options.scheduler {
            parts.clients.push(Part::start("scheduler", &mut scheduler(&programs, path), path)?);
        }
        let parts = Mutex::new(parts);
        Ok(Self { parts, programs, flags, etcd: etcd.0, url, admin, folder, names: AtomicU32::new(0) })
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.admin.clone()
    }

    /// The same for `kubectl` and our own command line.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("admin")
    }

    /// Where the API server listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port where the API server listens.
    pub fn port(&self) -> u16 {
        self.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// A folder that goes with the control plane.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a namespace of a new name, in which pods are admitted.
    pub async fn namespace(&self, labels: &[(&str, &str)]) -> String {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{number}");
        self.named_namespace(&name, labels).await;
        name
    }

    /// Makes the namespace of a name.
    pub async fn named_namespace(&self, name: &str, labels: &[(&str, &str)]) {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let namespace = json!({"metadata": {"name": name, "labels": labels}});
        let namespace: Namespace = serde_json::from_value(namespace).expect("a namespace");
        let made = Api::all(self.client()).create(&PostParams::default(), &namespace).await;
        made.expect("the namespace can be made");
        // A pod is refused until its account is there; the controller is to make it.
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), name);
        while accounts.get_opt("default").await.expect("an answer").is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// A client and a kubeconfig file for a service account, which is made if it is missing.
    pub async fn service_account(&self, namespace: &str, name: &str) -> (Client, PathBuf) {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        if accounts.get_opt(name).await.expect("an answer").is_none() {
            let account = serde_json::from_value(json!({"metadata": {"name": name}})).expect("an account");
            accounts.create(&PostParams::default(), &account).await.expect("the account can be made");
        }
        let request = json!({"spec": {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 36000}});
        let request: TokenRequest = serde_json::from_value(request).expect("a request");
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await.expect("a token");
        let token = answer.status.expect("a token").token;
        let folder = self.folder.path();
        let file = folder.join(format!("account-{namespace}-{name}"));
        access::write(&file, &self.url, &folder.join("apiserver.crt"), &token, namespace).expect("a file");
        (access::client(&file).await.expect("a client"), file)
    }

    /// What the audit log says so far, an event each.
    pub fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.log")).unwrap_or_default();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Kills the API server; the others go on.
    pub async fn stop_api_server(&self) {
        let server = self.parts.lock().await.api_server.take();
        server.expect("it runs").kill();
    }

    /// Starts it again, at the same address; it is ready when this returns.
    pub async fn start_api_server(&self) {
        let mut parts = self.parts.lock().await;
        let folder = self.folder.path();
        let server = start_api_server(&self.programs, &self.flags, &self.url, folder).await;
        parts.api_server = Some(server.expect("it starts again"));
    }

    /// Restarts the API server such that every watch that goes on from where it was is answered with 410.
    pub async fn expire_watches(&self) {
        self.stop_api_server().await;
        let mut revision = 0;
        for _ in 0..10 {
            revision = etcd::bump(&self.etcd).await.expect("etcd writes");
        }
        etcd::compact(&self.etcd, revision).await.expect("etcd forgets");
        self.start_api_server().await;
    }

    /// Process id of the API server, whose memory a bench may want to know.
    pub async fn api_server_id(&self) -> Option<u32> {
        self.parts.lock().await.api_server.as_ref().map(Part::id)
    }
}

async fn start_etcd(programs: &Programs, folder: &Path) -> Result<(String, Part), String> {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let mut command = programs.command("etcd");
    command.arg("--data-dir").arg(folder.join("etcd"));
    command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
    command.args(["--listen-peer-urls", "http://127.0.0.1:0", "--unsafe-no-fsync", "--log-level", "error"]);
    let mut part = Part::start("etcd", &mut command, folder)?;
    part.until(|| async move { tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() }).await?;
    Ok((url, part))
}

fn api_server_flags(folder: &Path, etcd: &str, port: u16, options: &Options) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let services = options.network.as_ref().map_or("10.0.0.0/24".to_owned(), Network::services);
    let mut flags = vec![
        format!("--etcd-servers={etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", folder.display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("account.key")),
        format!("--service-account-signing-key-file={}", file("account.key")),
        format!("--token-auth-file={}", file("tokens")),
        "--authorization-mode=RBAC".to_owned(),
        format!("--service-cluster-ip-range={services}"),
        "--allow-privileged=true".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        // Kubelets' certificates are not checked; their addresses are.
        format!(
            "--kubelet-preferred-address-types={}",
            if options.network.is_some() { "Hostname" } else { "InternalIP" }
        ),
    ];
    if options.audit {
        flags.push(format!("--audit-policy-file={}", file("audit-policy")));
        flags.push(format!("--audit-log-path={}", file("audit.log")));
    }
    if let Some(seconds) = options.lost_after {
        flags.push(format!("--default-unreachable-toleration-seconds={seconds}"));
        flags.push(format!("--default-not-ready-toleration-seconds={seconds}"));
    }
    flags.extend(options.api_server.iter().cloned());
    flags
}

async fn start_api_server(programs: &Programs, flags: &[String], url: &str, folder: &Path) -> Result<Part, String> {
    let mut part = Part::start("api-server", programs.command("kube-apiserver").args(flags), folder)?;
    // Its certificate is made at its first start; whether it is the right one is for the clients to check.
    let http = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).build();
    let http = http.map_err(|error| error.to_string())?;
    let url = format!("{url}/readyz");
    let ready = || async {
        let answer = http.get(&url).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    };
    part.until(ready).await?;
    Ok(part)
}

fn controller_manager(programs: &Programs, folder: &Path, options: &Options) -> Command {
    let mut command = programs.command("kube-controller-manager");
    as_client(&mut command, folder);
    command.arg(format!("--service-account-private-key-file={}", folder.join("account.key").display()));
    command.arg(format!("--root-ca-file={}", folder.join("apiserver.crt").display()));
    command.arg(format!("--controllers={CONTROLLERS}"));
    command.args(["--concurrent-gc-syncs=40", "--concurrent-namespace-syncs=20"]);
    command.args(&options.controller_manager);
    command
}

fn scheduler(programs: &Programs, folder: &Path) -> Command {
    let mut command = programs.command("kube-scheduler");
    as_client(&mut command, folder);
    command
}

/// Flags of whatever talks to the API server. Their own limits of requests are for clusters with other users.
fn as_client(command: &mut Command, folder: &Path) {
    for flag in ["--kubeconfig", "--authentication-kubeconfig", "--authorization-kubeconfig"] {
        command.arg(format!("{flag}={}", folder.join("admin").display()));
    }
    command.args(["--leader-elect=false", "--secure-port=0", "--kube-api-qps=5000", "--kube-api-burst=10000"]);
}

fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    })
}
