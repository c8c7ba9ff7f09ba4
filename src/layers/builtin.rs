//! The templates and scripts that are part of the program.

/// A template of ours: its layer's name and its text.
pub struct Template {
    /// Name of the layer, such as `feature-nix`.
    pub name: &'static str,
    /// File below the root of the project.
    pub file: &'static str,
    /// Text.
    pub text: &'static str,
}

macro_rules! templates {
    ($($name:literal),+ $(,)?) => {
        /// All templates, in the order in which layers are laid; `companion` is laid over every object but the pod.
        pub const TEMPLATES: &[Template] = &[$(Template {
            name: $name,
            file: concat!("templates/", $name, ".yaml"),
            text: include_str!(concat!("../../templates/", $name, ".yaml")),
        }),+];
    };
}

templates!(
    "base",
    "container-mode-kubernetes",
    "container-mode-kubernetes-novolume",
    "container-mode-dind",
    "container-mode-cached-privileged-kubernetes",
    "feature-run-as-root",
    "feature-nix",
    "feature-docker",
    "feature-cache-paths",
    "feature-prepare",
    "feature-hooks",
    "feature-job-hooks",
    "feature-proxy",
    "feature-tls",
    "engine-podman",
    "deskrun",
    "companion",
);

/// The template of a layer of ours.
pub fn template(name: &str) -> Option<&'static Template> {
    TEMPLATES.iter().find(|template| template.name == name)
}

/// A script that layers put into ConfigMaps, by its file name.
pub fn script(name: &str) -> Option<&'static str> {
    match name {
        "deskrun-docker.sh" => Some(include_str!("../../templates/scripts/deskrun-docker.sh")),
        "systemctl.sh" => Some(include_str!("../../templates/scripts/systemctl.sh")),
        _ => None,
    }
}
