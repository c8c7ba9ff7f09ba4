//! The timeline of a demo: a line per job, from queueing to its end.

use jiff::Timestamp;
use serde_json::Value;

const WIDTH: usize = 48;

/// Draws jobs of the simulator's ledger, each with its name.
pub(super) fn draw(jobs: &[Value], names: &[&str]) -> String {
    let moments = |field: &'static str| jobs.iter().filter_map(move |job| moment(&job[field]));
    let (Some(first), Some(last)) = (moments("queuedAt").min(), moments("completedAt").max()) else {
        return String::new();
    };
    let whole = seconds(first, last).max(0.001);
    let mut text = format!(
        "{:<18}{:>8}{:>8}{:>8}  {:<10}timeline of {whole:.1} s: . waits, # runs\n",
        "job", "queued", "waited", "ran", "result"
    );
    for (job, name) in jobs.iter().zip(names) {
        let at = |field: &str| moment(&job[field]);
        let (Some(queued), Some(ended)) = (at("queuedAt"), at("completedAt")) else { continue };
        let started = at("startedAt").unwrap_or(ended);
        let column = |moment| column(seconds(first, moment) / whole);
        let (from, begins, to) = (column(queued), column(started), column(ended));
        let bar = format!(
            "{}{}{}",
            " ".repeat(from),
            ".".repeat(begins.saturating_sub(from)),
            "#".repeat(to.saturating_sub(begins).max(1))
        );
        text.push_str(&format!(
            "{name:<18}{:>7.2}s{:>7.2}s{:>7.2}s  {:<10}{bar}\n",
            seconds(first, queued),
            seconds(queued, started),
            seconds(started, ended),
            job["conclusion"].as_str().unwrap_or("none"),
        ));
    }
    text
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a column of a terminal"
)]
fn column(part: f64) -> usize {
    (part.clamp(0.0, 1.0) * WIDTH as f64).round() as usize
}

fn moment(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_waits_and_runs_on_its_line() {
        let job = json!({
            "queuedAt": "2026-11-21T10:00:00Z", "startedAt": "2026-11-21T10:00:01Z",
            "completedAt": "2026-11-21T10:00:04Z", "conclusion": "success",
        });
        let text = draw(&[job], &["builds"]);
        let line = text.lines().nth(1).unwrap();
        assert!(line.starts_with("builds               0.00s   1.00s   3.00s  success   "), "{line}");
        assert!(line.ends_with(&format!("{}{}", ".".repeat(12), "#".repeat(36))), "{line}");
    }
}
