//! .NET's dates: up to seven digits of a second, and year 1 for "none" (`scale-set-protocol.md` 3.1).

use jiff::Timestamp;

/// The time of a date, `None` where there is none or it cannot be read.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    if text.is_empty() || text.starts_with("0001-01-01") {
        return None;
    }
    // A date without zone is UTC.
    let has_zone = text.ends_with('Z') || text.get(10..).is_some_and(|time| time.contains(['+', '-']));
    if has_zone { text.parse().ok() } else { format!("{text}Z").parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_as_dotnet_writes_them() {
        for text in ["2026-08-20T10:03:10.8800000Z", "2026-08-20T10:03:10.88", "2026-08-20T12:03:10.88+02:00"] {
            assert_eq!(parse(text).unwrap().to_string(), "2026-08-20T10:03:10.88Z", "{text}");
        }
        for text in ["", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00", "soon"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
