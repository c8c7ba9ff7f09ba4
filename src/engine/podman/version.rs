//! Which Podman answers, by what it says of itself.

use std::fmt;

/// A version of Podman.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// Before 4.3, `play/kube` knows neither secrets in variables nor several of the volume kinds that manifests use.
const OLDEST: Version = Version { major: 4, minor: 3 };

impl Version {
    /// Reads the header `Libpod-Api-Version`, which is Podman's own version; the error says what is wrong in words.
    pub(super) fn supported(header: Option<&str>) -> Result<Self, String> {
        let Some(text) = header else {
            return Err("what listens there is not Podman: it does not say its version".to_owned());
        };
        let mut numbers = text.split(['.', '-']).map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            return Err(format!("Podman says its version is `{text}`, which cannot be read"));
        };
        let version = Self { major, minor };
        if version < OLDEST {
            return Err(format!("it is Podman {text}, and DeskRun needs {OLDEST} or later: update it on that host"));
        }
        Ok(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podman_before_4_3_is_refused_and_later_ones_are_told_apart() {
        assert_eq!(Version::supported(Some("4.3.1")), Ok(Version { major: 4, minor: 3 }));
        assert_eq!(Version::supported(Some("5.6.0-rc1")), Ok(Version { major: 5, minor: 6 }));
        assert!(Version::supported(Some("4.2.0")).unwrap_err().contains("needs 4.3"));
        assert!(Version::supported(Some("3.4.4")).unwrap_err().contains("update"));
        assert!(Version::supported(None).unwrap_err().contains("not Podman"));
    }
}
