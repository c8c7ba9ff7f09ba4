//! Writes a file of the configuration folder: whole or not at all, and for its user alone.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;

/// Writes the text and puts it in the place of whatever is there. The name it has on the way is none that is served.
pub(super) fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", file.display());
    let folder = file.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(cannot)?;
    let temporary = file.with_extension(format!("yaml.{}", std::process::id()));
    // A killed process of the same id may have left it.
    let _ = std::fs::remove_file(&temporary);
    let written = written(&temporary, text).and_then(|()| std::fs::rename(&temporary, file));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.with_context(cannot)?;
    // The name is only kept once the folder is.
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(cannot)
}

fn written(file: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_is_its_users_alone_and_leaves_nothing_beside_it() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("deskrun/metal.yaml");
        replace(&file, "a: 1\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        replace(&file, "a: 2\n").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a: 2\n");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
