//! The operator's image, built from the project's `Containerfile` with the program under test and without a registry:
//! the bases are made of what this machine has.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use deskrun::causes::in_one_line;
use deskrun::demo::PrivatePodman;

/// The image's name, as the chart's values have it by default.
pub const IMAGE: &str = concat!("localhost/deskrun:", env!("CARGO_PKG_VERSION"));

const PROGRAM: &str = env!("CARGO_BIN_EXE_deskrun");
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const BUILDER: &str = "localhost/deskrun-builder:test";
const RUNTIME: &str = "localhost/deskrun-runtime:test";

/// Builds [`IMAGE`]; `folder` is for what is needed meanwhile.
pub async fn build(podman: &PrivatePodman, folder: &Path) -> Result<&'static str, String> {
    // A builder has a shell and certificates, a runtime the C library.
    let builder = folder.join("builder");
    put(Path::new("/bin/busybox"), &builder.join("bin/busybox"))?;
    for applet in ["sh", "mkdir", "cp"] {
        symlink("busybox", builder.join("bin").join(applet)).map_err(|error| error.to_string())?;
    }
    put(Path::new(CERTIFICATES), &builder.join(&CERTIFICATES[1..]))?;
    let runtime = folder.join("runtime");
    for library in libraries()? {
        put(&library, &runtime.join(library.strip_prefix("/").unwrap_or(&library)))?;
    }
    for (root, name) in [(&builder, BUILDER), (&runtime, RUNTIME)] {
        import(podman, root, name).await?;
    }
    let context = folder.join("context");
    put(Path::new(PROGRAM), &context.join("deskrun"))?;
    let containerfile = concat!(env!("CARGO_MANIFEST_DIR"), "/Containerfile");
    let context = context.to_str().ok_or("a path is text")?;
    let arguments =
        ["BUILDER=localhost/deskrun-builder:test", "RUNTIME=localhost/deskrun-runtime:test", "PROGRAM=deskrun"];
    let mut build = vec!["build", "--quiet", "--pull=never", "--network=none", "--tag", IMAGE, "--file", containerfile];
    build.extend(arguments.iter().flat_map(|argument| ["--build-arg", argument]));
    build.push(context);
    podman.run("build the operator's image", &build).await.map_err(|error| in_one_line(&error))?;
    Ok(IMAGE)
}

async fn import(podman: &PrivatePodman, root: &Path, name: &str) -> Result<(), String> {
    let archive = root.with_extension("tar");
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or("a path is text");
    let (root, archive) = (text(root)?, text(&archive)?);
    let packed = Command::new("tar").args(["-C", &root, "--owner=0", "--group=0", "-cf", &archive, "."]).status();
    if !packed.map_err(|error| error.to_string())?.success() {
        return Err(format!("{root} cannot be packed"));
    }
    let imported = podman.run("import a base", &["import", "--quiet", &archive, name]).await;
    imported.map(drop).map_err(|error| in_one_line(&error))
}

fn libraries() -> Result<Vec<PathBuf>, String> {
    let output = Command::new("ldd").arg(PROGRAM).output().map_err(|error| error.to_string())?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = output.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}

fn put(from: &Path, to: &Path) -> Result<(), String> {
    let folder = to.parent().ok_or("a file lies in a folder")?;
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    fs::copy(from, to).map(drop).map_err(|error| format!("{}: {error}", from.display()))
}
