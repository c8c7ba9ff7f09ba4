//! `deskrun demo`, as a user runs it: everything is real but GitHub.

use std::process::Command;

#[test]
fn the_demo_runs_every_job_to_its_right_result_and_leaves_nothing() {
    let cache = tempfile::tempdir().expect("a folder");
    let output = Command::new(env!("CARGO_BIN_EXE_deskrun"))
        .arg("demo")
        .env("DESKRUN_CACHE_DIR", cache.path())
        .output()
        .expect("the program runs");
    let (said, drawn) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{said}\n{drawn}");
    assert!(said.contains("every job had its right result, and nothing is left"), "{said}");
    assert!(drawn.contains("13 of 13 jobs ended as they should"), "{drawn}");
    for name in ["fills the cache", "finds it filled", "fails", "one of ten"] {
        assert!(drawn.contains(name), "{name} is missing:\n{drawn}");
    }
    let left: Vec<_> = std::fs::read_dir(cache.path()).expect("it is there").collect();
    assert!(left.is_empty(), "{left:?}");
}
