//! The table in `PROTOCOL.md` names tests that exist: what is renamed or removed there is missed here.

use std::path::Path;

mod support;

#[test]
fn every_test_named_in_the_protocol_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources: String = ["src", "tests"]
        .iter()
        .flat_map(|folder| support::golden::files(&root.join(folder)))
        .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
        .map(|file| std::fs::read_to_string(file).unwrap())
        .collect();
    let table = std::fs::read_to_string(root.join("tests/PROTOCOL.md")).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(2).collect();
    let named: Vec<&str> = rows.iter().flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 80, "only {} tests are named", named.len());
    let is_test = |name: &&&str| {
        name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let missing: Vec<&&str> =
        named.iter().filter(is_test).filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "these tests do not exist: {missing:#?}");
}
