//! What Podman says of a container, against the manifest it was made from.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Mounts, privileges, variables and command of the runner's container, against the manifest's.
pub fn compare(pod: &Value, inspected: &Value, jit_config: &str) {
    let runner = &pod["spec"]["containers"][0];
    assert_eq!(inspected["HostConfig"]["Privileged"], runner["securityContext"]["privileged"]);
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let expected: BTreeSet<(String, String, bool)> = runner["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| {
            let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
            let source =
                volume.pointer("/hostPath/path").or(volume.pointer("/configMap/name")).unwrap_or(&volume["name"]);
            (text(&mount["mountPath"]), text(source), mount["readOnly"] != true)
        })
        .collect();
    let seen: BTreeSet<(String, String, bool)> = inspected["Mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| {
            let source = if mount["Type"] == "volume" { &mount["Name"] } else { &mount["Source"] };
            (text(&mount["Destination"]), text(source), mount["RW"] == true)
        })
        .collect();
    assert_eq!(seen, expected);

    let seen: BTreeMap<&str, &str> = inspected["Config"]["Env"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item.as_str()?.split_once('='))
        .collect();
    for item in runner["env"].as_array().unwrap() {
        let name = item["name"].as_str().unwrap();
        let expected = item["value"].as_str().map_or_else(|| jit_config.to_owned(), str::to_owned);
        assert_eq!(seen.get(name).copied(), Some(expected.as_str()), "{name}");
    }
    assert_eq!(
        inspected["Config"]["Entrypoint"],
        runner["command"].as_array().unwrap().iter().map(text).collect::<Vec<_>>().join(" ")
    );
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
