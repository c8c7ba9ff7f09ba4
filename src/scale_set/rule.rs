//! The rules that a spec can break, each with a stable id that error messages end with.
//!
//! Every rule has a folder of its id under `testdata/refused/`: an input that breaks it, and the nearest that does not.

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident = $id:literal,)+) => {
        /// A rule for specs; the source of most is `runner-pods.md` 6 (cache paths) and 3.3 (hook template).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Rule {
            /// All rules.
            pub const ALL: &[Rule] = &[$(Rule::$variant,)+];

            /// The stable id.
            pub fn id(self) -> &'static str {
                match self {
                    $(Rule::$variant => $id,)+
                }
            }
        }
    };
}

rules! {
    /// A name must be a DNS label.
    Name = "name",
    /// Two scale sets of one input have the same name.
    NameDuplicate = "name-duplicate",
    /// The config URL is not a usable URL.
    ConfigUrl = "config-url",
    /// Of `githubConfigSecret` and `credentials` only one may be set.
    CredentialsBoth = "credentials-both",
    /// `credentials` must name exactly one kind.
    CredentialsKind = "credentials-kind",
    /// `instances` must be between 1 and 256, and leave room for their number in the name.
    Instances = "instances",
    /// `maxRunners` must be at least 1.
    MaxRunners = "max-runners",
    /// `minRunners` may not exceed `maxRunners`.
    MinRunners = "min-runners",
    /// An image reference must be given without white space.
    Image = "image",
    /// A label of the scale set must be printable and not empty.
    Label = "label",
    /// A duration is written like `90s`, `10m`, `1h30m`.
    Duration = "duration",
    /// A feature is asked for in a mode that does not have it.
    ModeFeature = "mode-feature",
    /// The container hooks cannot be switched off in a mode that consists of them.
    ModeHooks = "mode-hooks",
    /// A proxy URL must be `http(s)://host:port` without user and password.
    ProxyUrl = "proxy-url",
    /// Proxy credentials need a proxy.
    ProxyCredentials = "proxy-credentials",
    /// Exactly one place of certificates must be named.
    CertificateAuthority = "certificate-authority",
    /// A layer names exactly one of `file`, `inline`, `configMap`.
    LayerSource = "layer-source",
    /// A Nix setting is not of the form the client reads.
    NixSetting = "nix-setting",
    /// A target must not be empty or `/`.
    CacheTargetRoot = "cache-target-root",
    /// A target must be absolute.
    CacheTargetRelative = "cache-target-relative",
    /// A target must not contain `.`, `..`, `:` or control characters.
    CacheTargetForm = "cache-target-form",
    /// Two entries have the same target.
    CacheTargetDuplicate = "cache-target-duplicate",
    /// A target lies below a read-only mount, where no mount point can be made.
    CacheTargetBelowReadOnly = "cache-target-below-read-only",
    /// `/nix/store` may only be the host's own store, read-only.
    CacheTargetNixStore = "cache-target-nix-store",
    /// Nix's state must not be exposed.
    CacheTargetNix = "cache-target-nix",
    /// The runner's own files must not be hidden.
    CacheTargetRunner = "cache-target-runner",
    /// System directories of the container must not be hidden.
    CacheTargetSystem = "cache-target-system",
    /// The target belongs to `DeskRun` or to the container hooks.
    CacheTargetOwned = "cache-target-owned",
    /// A runner must be able to write its work folder.
    CacheTargetWorkReadOnly = "cache-target-work-read-only",
    /// In mode `kubernetes` the work folder is a claim that the job's pod shares.
    CacheTargetWorkClaim = "cache-target-work-claim",
    /// The host's Docker socket must be asked for as a socket.
    CacheTargetDockerSocket = "cache-target-docker-socket",
    /// An entry needs a source or a volume.
    CacheSourceMissing = "cache-source-missing",
    /// An entry has a source and a volume.
    CacheSourceAndVolume = "cache-source-and-volume",
    /// The host's Nix store must not be writable.
    CacheSourceNixStore = "cache-source-nix-store",
    /// A source must be absolute.
    CacheSourceRelative = "cache-source-relative",
    /// A source must not contain `.`, `..`, `:` or control characters.
    CacheSourceForm = "cache-source-form",
    /// Only `{slot}` and `{scaleSet}` are replaced in a source.
    CacheSourcePlaceholder = "cache-source-placeholder",
    /// A system directory of the host as source.
    CacheSourceSystem = "cache-source-system",
    /// One writable source under two targets.
    CacheSourceDuplicate = "cache-source-duplicate",
    /// A source lies in another and one of them is exclusive.
    CacheSourceNestedExclusive = "cache-source-nested-exclusive",
    /// The directories of two slots, or of a slot and a cache, overlap.
    CacheSlotOverlap = "cache-slot-overlap",
    /// `{slot}` in a cache that is said to be shared.
    CacheSlotShared = "cache-slot-shared",
    /// A cache that cannot be shared is said to be shared.
    CacheExclusiveForced = "cache-exclusive-forced",
    /// An emptyDir belongs to one pod already.
    CacheExclusiveEmptyDir = "cache-exclusive-empty-dir",
    /// An exclusive volume needs `{slot}` in its source.
    CacheExclusiveVolume = "cache-exclusive-volume",
    /// A Docker data root cannot be read-only.
    CacheDockerReadOnly = "cache-docker-read-only",
    /// A Docker data root cannot be on a network file system.
    CacheDockerNetwork = "cache-docker-network",
    /// `type` without a source.
    CacheTypeWithoutSource = "cache-type-without-source",
    /// `medium` and `sizeLimit` are for emptyDirs.
    CacheEmptyDirOption = "cache-empty-dir-option",
    /// A medium that Kubernetes does not have.
    CacheMedium = "cache-medium",
    /// A size that is not a Kubernetes quantity.
    CacheSizeLimit = "cache-size-limit",
    /// A volume is described by its source alone, exactly one.
    CacheVolume = "cache-volume",
    /// The Nix mounts are read-only directories that are there.
    CacheNixFixed = "cache-nix-fixed",
    /// A Nix mount although Nix is switched off.
    CacheNixDisabled = "cache-nix-disabled",
    /// A hook template in a mode without container hooks.
    HookTemplateUnused = "hook-template-unused",
    /// `initContainers` would replace the hook's own.
    HookTemplateInitContainers = "hook-template-init-containers",
    /// A pod `securityContext` would drop the hook's `fsGroup`.
    HookTemplateSecurityContext = "hook-template-security-context",
    /// A pod field that would replace what the hook sets.
    HookTemplatePodField = "hook-template-pod-field",
    /// Metadata that the hook ignores.
    HookTemplateMetadata = "hook-template-metadata",
    /// A field of a `$` container that the hook ignores or that would stop the job container.
    HookTemplateContainerField = "hook-template-container-field",
    /// A `$` container without a name behind the `$`.
    HookTemplateContainerName = "hook-template-container-name",
    /// A label by which the hook's pods are found.
    HookTemplateLabel = "hook-template-label",
    /// A volume that the hook makes itself.
    HookTemplateVolume = "hook-template-volume",
    /// A mount at a path that the hook uses itself.
    HookTemplateMount = "hook-template-mount",
}
