//! What a cache may be made of: directories of the host, emptyDirs, volumes.

use serde_json::Value;

use super::cache::Storage;
use super::path::{PathFault, is_in, normalise};
use super::report::Broken;
use super::rule::Rule;
use super::slot::Source;
use crate::crd::CachePath;

/// The storage an entry asks for.
pub(super) fn storage(entry: &CachePath, scale_set: &str) -> Result<Storage, Broken> {
    match (&entry.source, &entry.volume) {
        (Some(_), Some(_)) => Err(Broken::new(
            Rule::CacheSourceAndVolume,
            "`source` and `volume` exclude each other",
            "remove one of them",
        )),
        (None, None) => Err(Broken::new(
            Rule::CacheSourceMissing,
            "the entry has neither `source` nor `volume`",
            "write `source: \"\"` for an emptyDir, or the path of a directory of the host",
        )),
        (None, Some(volume)) => volume_storage(entry, &volume.0),
        (Some(source), None) if source.is_empty() => empty_dir(entry),
        (Some(source), None) => host_path(entry, source, scale_set),
    }
}

fn empty_dir(entry: &CachePath) -> Result<Storage, Broken> {
    if entry.type_.is_some() {
        return Err(Broken::new(
            Rule::CacheTypeWithoutSource,
            "`type` says what the source must be on the host, but the source is empty",
            "remove `type`, or give a source",
        ));
    }
    let medium = entry.medium.clone().filter(|medium| !medium.is_empty());
    if let Some(medium) = medium.as_deref().filter(|medium| *medium != "Memory" && !medium.starts_with("HugePages")) {
        return Err(Broken::new(
            Rule::CacheMedium,
            format!("there is no medium `{medium}`"),
            "write `Memory`, or leave it out for the node's disk",
        ));
    }
    if let Some(size) = entry.size_limit.as_deref().filter(|size| !is_quantity(size)) {
        return Err(Broken::new(
            Rule::CacheSizeLimit,
            format!("`{size}` is not a size"),
            "write a Kubernetes quantity such as `20Gi`",
        ));
    }
    Ok(Storage::EmptyDir { medium, size_limit: entry.size_limit.clone() })
}

fn host_path(entry: &CachePath, source: &str, scale_set: &str) -> Result<Storage, Broken> {
    refuse_empty_dir_options(entry)?;
    let source = Source::parse(source).map_err(|placeholder| {
        Broken::new(
            Rule::CacheSourcePlaceholder,
            format!("`{placeholder}` in the source `{source}` is not replaced by anything"),
            "known are `{slot}` and `{scaleSet}`",
        )
    })?;
    let path = check_form(source.as_written())?;
    // Placeholders survive normalisation, so the normalised text parses as well.
    let source = Source::parse(&path).unwrap_or(source);
    if !entry.allow_system_path {
        check_system(&source.of_slot(scale_set, 0))?;
    }
    check_nix_store(&path, entry)?;
    Ok(Storage::HostPath { source, type_: entry.type_ })
}

fn check_form(source: &str) -> Result<String, Broken> {
    normalise(source).map_err(|fault| match fault {
        PathFault::Relative => Broken::new(
            Rule::CacheSourceRelative,
            format!("the source `{source}` is not an absolute path"),
            format!("write `/{source}`, or `\"\"` for an emptyDir"),
        ),
        PathFault::Form(part) => Broken::new(
            Rule::CacheSourceForm,
            format!("the source `{source}` contains `{part}`"),
            "write the path without `.`, `..`, `:` and control characters",
        ),
    })
}

fn check_system(path: &str) -> Result<(), Broken> {
    const SYSTEM: &[&str] = &[
        "/etc",
        "/boot",
        "/proc",
        "/sys",
        "/dev",
        "/var/lib/kubelet",
        "/var/lib/containerd",
        "/run/containerd",
        "/var/run/containerd",
    ];
    match SYSTEM.iter().find(|system| is_in(path, system) || is_in(system, path)) {
        None => Ok(()),
        Some(system) => {
            let what = if is_in(path, system) { "is" } else { "contains" };
            let reason = format!("the source `{path}` {what} a system directory of the host (`{system}`)");
            let hint = "choose a directory made for caches; if you mean it, say `allowSystemPath: true`";
            Err(Broken::new(Rule::CacheSourceSystem, reason, hint))
        }
    }
}

/// Whoever can write the store of the host without its daemon breaks it for the host (`runner-pods.md` 4 and 7).
fn check_nix_store(path: &str, entry: &CachePath) -> Result<(), Broken> {
    if is_in(path, NIX_STORE) && entry.read_only == Some(false) {
        return Err(Broken::new(
            Rule::CacheSourceNixStore,
            format!("the source `{path}` is the host's Nix store, which only its daemon may write"),
            "remove `readOnly: false`; builds go to the daemon",
        ));
    }
    Ok(())
}

/// The host's Nix store.
pub(super) const NIX_STORE: &str = "/nix/store";

fn refuse_empty_dir_options(entry: &CachePath) -> Result<(), Broken> {
    let option = match (&entry.medium, &entry.size_limit) {
        (Some(_), _) => "medium",
        (_, Some(_)) => "sizeLimit",
        (None, None) => return Ok(()),
    };
    Err(Broken::new(
        Rule::CacheEmptyDirOption,
        format!("`{option}` is for emptyDirs, and this entry has a source"),
        "remove it, or write `source: \"\"`",
    ))
}

fn volume_storage(entry: &CachePath, volume: &Value) -> Result<Storage, Broken> {
    refuse_empty_dir_options(entry)?;
    let broken = |message: String, hint: &str| Err(Broken::new(Rule::CacheVolume, message, hint));
    if entry.type_.is_some() {
        return broken("`type` is for directories of the host".to_owned(), "remove it");
    }
    let sources: Vec<&String> = volume.as_object().into_iter().flat_map(serde_json::Map::keys).collect();
    match sources.as_slice() {
        [source] if *source == "hostPath" => {
            broken("a directory of the host is not given as `volume`".to_owned(), "write it as `source`")
        }
        [source] if *source == "name" => broken(
            "the volume's name is ours to give".to_owned(),
            "write only the source, such as `nfs: {server: …, path: …}`",
        ),
        [_] => Ok(Storage::Volume(volume.clone())),
        sources => broken(
            format!("expected one volume source, found {}", sources.len()),
            "write one, such as `persistentVolumeClaim: {claimName: …}`",
        ),
    }
}

/// A Kubernetes quantity: a number with a decimal or binary suffix, or with an exponent.
fn is_quantity(text: &str) -> bool {
    const SUFFIXES: [&str; 13] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "m", "k", "M", "G", "T", "P", "E"];
    let number = SUFFIXES.iter().find_map(|suffix| text.strip_suffix(suffix));
    let plain = |text: &str| {
        let digits = text.replacen('.', "", 1);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    if let Some(number) = number {
        plain(number)
    } else {
        let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        plain(number) && exponent.parse::<i8>().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_numbers_with_a_suffix_of_kubernetes() {
        for text in ["20Gi", "1.5G", "1000", "1e3", "64Mi", ".5Gi"] {
            assert!(is_quantity(text), "{text}");
        }
        for text in ["", "Gi", "20GB", "-1Gi", "inf", "nan", "20 Gi", "1e3Mi", "1..5"] {
            assert!(!is_quantity(text), "{text}");
        }
    }
}
