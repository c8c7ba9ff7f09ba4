//! Images from a folder, as archives that containerd imports. No registry and no Podman is needed.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// Packs the files below `root` as an image of a name. `settings` are those of an image's `config`.
pub fn pack(root: &Path, name: &str, settings: &Value, archive: &Path) -> Result<(), String> {
    let layout = archive.with_extension("layout");
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).map_err(|error| format!("{}: {error}", blobs.display()))?;
    let layer = layout.join("layer");
    run(Command::new("tar").arg("-C").arg(root).args(["--numeric-owner", "-cf"]).arg(&layer).arg("."))?;
    let layer = keep(&blobs, &layer)?;
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux", "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = put(&blobs, &config)?;
    let manifest = put(
        &blobs,
        &json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("config.v1+json", &config),
            "layers": [described("layer.v1.tar", &layer)],
        }),
    )?;
    let mut entry = described("manifest.v1+json", &manifest);
    entry["annotations"] = json!({"io.containerd.image.name": name});
    write(&layout.join("index.json"), &json!({"schemaVersion": 2, "manifests": [entry]}))?;
    write(&layout.join("oci-layout"), &json!({"imageLayoutVersion": "1.0.0"}))?;
    run(Command::new("tar").arg("-C").arg(&layout).arg("-cf").arg(archive).args([
        "oci-layout",
        "index.json",
        "blobs",
    ]))?;
    std::fs::remove_dir_all(&layout).map_err(|error| error.to_string())
}

fn described(kind: &str, blob: &Value) -> Value {
    let mut blob = blob.clone();
    blob["mediaType"] = json!(format!("application/vnd.oci.image.{kind}"));
    blob
}

/// Writes a blob; its digest and size.
fn put(blobs: &Path, content: &Value) -> Result<Value, String> {
    let file = blobs.join("new");
    write(&file, content)?;
    keep(blobs, &file)
}

/// Moves a file to the blobs; its digest and size.
fn keep(blobs: &Path, file: &Path) -> Result<Value, String> {
    // The digest of a layer takes an unoptimised build seconds.
    let sum = run(Command::new("sha256sum").arg(file))?;
    let sum = sum.split(' ').next().unwrap_or_default().to_owned();
    let size = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    std::fs::rename(file, blobs.join(&sum)).map_err(|error| error.to_string())?;
    Ok(json!({"digest": format!("sha256:{sum}"), "size": size}))
}

fn write(file: &Path, content: &Value) -> Result<(), String> {
    std::fs::write(file, content.to_string()).map_err(|error| format!("{}: {error}", file.display()))
}

/// Runs a command; the error is what it says.
pub fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{}: {said}", command.get_program().display()))
}
