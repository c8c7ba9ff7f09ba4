//! The README's transcript on a cluster, executed: what a reader would type, and what he is told he would see.

use std::sync::Arc;

use crate::cluster::Fate;
use crate::user::User;
use crate::world::{TOKEN, World};
use crate::{Cluster, Trials};

const README: &str = include_str!("../../README.md");

pub fn add(trials: Trials<'_>) -> Trials<'_> {
    trials.test("the_transcript_of_the_readme_is_what_happens", the_transcript)
}

/// A command with what it prints; `…` stands for any text to the end of its line, or, alone, for any lines.
struct Step {
    command: String,
    output: Vec<String>,
}

fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.push(Step { command: command.to_owned(), output: Vec::new() }),
            None => steps.last_mut().expect("a command comes first").output.push(line.to_owned()),
        }
    }
    steps
}

fn is_like(said: &[&str], written: &[String]) -> bool {
    let Some((first, rest)) = written.split_first() else { return said.is_empty() };
    if first == "…" {
        return (0..=said.len()).any(|skipped| is_like(&said[skipped..], rest));
    }
    let Some((line, others)) = said.split_first() else { return false };
    let fits = match first.split_once('…') {
        Some((begin, end)) => line.starts_with(begin) && line.ends_with(end),
        None => line == first,
    };
    fits && is_like(others, rest)
}

async fn the_transcript(cluster: Arc<Cluster>) {
    let (user, world) = (User::new(&cluster), World::new(Arc::clone(&cluster)).await);
    let process: Arc<dyn deskrun::engine::memory::Process> = Arc::new(world.runner.clone());
    cluster.kubelet.behave(&world.namespace, move |pod| match pod.metadata.labels.as_ref() {
        Some(labels) if labels.contains_key("deskrun.dev/runner") => Fate::Runs(Arc::clone(&process)),
        _ => Fate::waits(),
    });
    let _operator = world.operator();
    user.write("token", TOKEN);
    let block = README.split("```console\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a transcript");
    let url = format!("{}/acme/rubionic", world.url);
    let here = |text: &str| {
        let text = text.replace("deskrun-runners", &world.namespace).replace("https://github.com/acme/rubionic", &url);
        text.replace("registry.example.com/deskrun:0.1.0", "localhost/deskrun:test")
    };
    for Step { command, output } in steps(&here(block)) {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        match words.remove(0) {
            "cat" => user.write(words[0], &(output.join("\n") + "\n")),
            "sed" => {
                let done = std::process::Command::new("sh").args(["-c", &command]).current_dir(user.path()).status();
                assert!(done.expect("a shell").success(), "{command}");
            }
            "deskrun" => {
                // The operator of this test works in the runners' namespace.
                if ["up", "down", "doctor"].contains(&words[0]) {
                    words.extend(["--operator-namespace", &world.namespace]);
                }
                let finished = user.succeeds(&words).await;
                let said: Vec<&str> = finished.stdout.lines().collect();
                assert!(is_like(&said, &output), "{command}: {}{}", finished.stdout, finished.stderr);
                if words[0] == "up" {
                    let is_idle = |object: &kube::api::DynamicObject| {
                        object.data["status"]["idleRunners"] == object.data["spec"]["minRunners"]
                    };
                    world.resource("rubionic-workspace", "idle", is_idle).await;
                }
            }
            other => panic!("the README says `{other}`, which the test does not know"),
        }
    }
    world.assert_nothing_left().await;
}
