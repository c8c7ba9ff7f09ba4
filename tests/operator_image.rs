//! The operator's image as the `Containerfile` builds it, run by a Podman of its own.

#[path = "support/operator_image.rs"]
mod image;

use deskrun::causes::in_one_line;
use deskrun::demo::PrivatePodman;
use serde_json::{Value, json};

#[tokio::test]
async fn the_operators_image_runs_as_a_user_without_rights_and_has_certificates() {
    let folder = tempfile::tempdir().expect("a folder");
    let podman = PrivatePodman::start(&folder.path().join("podman")).await.expect("a Podman");
    let looked = look(&podman, folder.path()).await;
    podman.stop().await.expect("nothing is left");
    looked.unwrap_or_else(|error| panic!("{error}"));
}

async fn look(podman: &PrivatePodman, folder: &std::path::Path) -> Result<(), String> {
    let image = image::build(podman, folder).await?;
    // As the chart runs it.
    let restricted =
        ["run", "--rm", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=none"];
    let run = async |arguments: &[&str]| {
        let arguments: Vec<&str> = restricted.iter().chain(&[image]).chain(arguments).copied().collect();
        podman.run("run the image", &arguments).await.map_err(|error| in_one_line(&error))
    };
    assert_eq!(run(&["version"]).await?.trim(), concat!("deskrun ", env!("CARGO_PKG_VERSION")));
    assert!(run(&["operator", "--help"]).await?.contains("--lease"));
    let said =
        podman.run("look at the image", &["image", "inspect", image]).await.map_err(|error| in_one_line(&error))?;
    let said: Value = serde_json::from_str(&said).map_err(|error| error.to_string())?;
    let config = &said[0]["Config"];
    assert_eq!((&config["User"], &config["Entrypoint"]), (&json!("65532:65532"), &json!(["/usr/bin/deskrun"])));
    let container =
        podman.run("make a container", &["create", image, "version"]).await.map_err(|error| in_one_line(&error))?;
    let copy = folder.join("certificates");
    let from = format!("{}:/etc/ssl/certs/ca-certificates.crt", container.trim());
    let to = copy.to_str().ok_or("a path is text")?;
    podman.run("copy a file", &["cp", &from, to]).await.map_err(|error| in_one_line(&error))?;
    let certificates = std::fs::read_to_string(&copy).map_err(|error| error.to_string())?;
    assert!(certificates.contains("-----BEGIN CERTIFICATE-----"));
    Ok(())
}
