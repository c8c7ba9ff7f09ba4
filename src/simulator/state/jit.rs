//! The JIT config blob: the files that GitHub's runner would write, and one that steers the stand-in.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::RngExt;
use serde_json::{Value, json};

use super::State;
use super::error::Refusal;
use crate::simulator::links::Links;

impl State {
    /// Base64 of a JSON object from file names to Base64 of their contents. The RSA parameters have the right lengths
    /// and are random: no one signs with them here.
    pub(crate) fn jit_config(&mut self, runner: i64, links: &Links) -> Result<String, Refusal> {
        let registered = self.runners.get(&runner).ok_or(Refusal::RunnerNotFound(runner))?.clone();
        let update = self.scale_sets.get(&registered.scale_set).is_some_and(|set| set.disable_update);
        let service = links.service();
        let settings = json!({
            "AgentId": registered.id.to_string(),
            "AgentName": registered.name,
            "PoolId": "1",
            "PoolName": "Default",
            "ServerUrl": service,
            "ServerUrlV2": service,
            "UseV2Flow": "True",
            "GitHubUrl": "",
            "WorkFolder": registered.work_folder,
            "Ephemeral": "True",
            "DisableUpdate": if update { "True" } else { "False" },
            "SkipSessionRecover": "True",
        });
        let oauth = format!("{}/_apis/oauth2/token", links.origin);
        let credentials = json!({ "Scheme": "OAuth", "Data": {
            "clientId": self.uuid(),
            "authorizationUrl": oauth,
            "authorizationUrlV2": oauth,
            "oauthEndpointUrl": oauth,
            "requireFipsCryptography": "True",
            "enableAuthMigrationByDefault": "False",
        }});
        let own = json!({
            "url": links.origin,
            "runnerId": registered.id,
            "runnerName": registered.name,
            "secret": registered.secret,
        });
        let key = self.key_parameters();
        let files = json!({
            ".runner": file(&settings),
            ".credentials": file(&credentials),
            ".credentials_rsaparams": file(&key),
            ".deskrun-sim": file(&own),
        });
        Ok(file(&files))
    }

    fn key_parameters(&mut self) -> Value {
        let lengths =
            [("d", 256), ("dp", 128), ("dq", 128), ("inverseQ", 128), ("modulus", 256), ("p", 128), ("q", 128)];
        let mut key = json!({ "exponent": "AQAB" });
        for (name, length) in lengths {
            let bytes: Vec<u8> = (0..length).map(|_| self.rng.random()).collect();
            key[name] = BASE64_STANDARD.encode(bytes).into();
        }
        key
    }
}

fn file(content: &Value) -> String {
    BASE64_STANDARD.encode(content.to_string())
}
