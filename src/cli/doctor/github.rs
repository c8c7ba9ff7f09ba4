//! Tries the credentials out: they get a registration token, which registers nothing and ends by itself within the hour,
//! and with it the scale set is looked up. There is no call that only tells what a token may do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::findings::Finding;
use crate::causes::in_one_line;
use crate::cli::run::{service, service_key, service_with};
use crate::github::{ActionsService, Credentials, Environment, GitHubError};
use crate::scale_set::ScaleSet;

/// Longer is an outage; the client would wait it out.
const PATIENCE: Duration = Duration::from_secs(30);
/// Who calls, for GitHub's logs.
const SUBSYSTEM: &str = "doctor";

/// Tries those that files name. The proxies of a spec are for whoever serves it: in a cluster that is not us.
pub(super) async fn of_files(
    scale_sets: impl Iterator<Item = &ScaleSet>,
    through_proxies: bool,
    offline: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut services: BTreeMap<String, ActionsService> = BTreeMap::new();
    for scale_set in scale_sets {
        let key = service_key(scale_set);
        let service = match services.get(&key) {
            Some(service) => service.clone(),
            None => match service(scale_set, through_proxies, &Environment::system(), SUBSYSTEM, |transport| transport)
            {
                Ok(service) => services.entry(key).or_insert(service).clone(),
                Err(error) => {
                    findings.push(Finding::problem(format!("{error:#}"), None));
                    continue;
                }
            },
        };
        if !offline {
            findings.push(tried(scale_set, &service).await);
        }
    }
    findings
}

/// Tries those of a Secret.
pub(super) async fn of_secret(scale_set: &ScaleSet, credentials: Credentials) -> Finding {
    // The proxies of the spec are for whoever is in the cluster.
    match service_with(scale_set, credentials, None, &Environment::system(), SUBSYSTEM, |transport| transport) {
        Ok(service) => tried(scale_set, &service).await,
        Err(error) => Finding::problem(format!("{error:#}"), None),
    }
}

async fn tried(scale_set: &ScaleSet, service: &ActionsService) -> Finding {
    let url = scale_set.config_url.as_deref().unwrap_or_default();
    match tokio::time::timeout(PATIENCE, registered(scale_set, service)).await {
        Err(_) => Finding::problem(
            format!("{}: {url} has not answered within {} s", scale_set.name, PATIENCE.as_secs()),
            Some("check the URL, the network and the proxy".to_owned()),
        ),
        Ok(Err(error)) => Finding::problem(format!("{}: {}", scale_set.name, in_one_line(&error)), error.hint()),
        Ok(Ok(None)) => Finding::problem(
            format!("{}: there is no runner group `{}` at {url}", scale_set.name, scale_set.runner_group),
            Some("make it at GitHub, or change `runnerGroup`".to_owned()),
        ),
        Ok(Ok(Some(known))) => {
            let known = match known {
                0 => "it is not there yet",
                _ => "it is there already",
            };
            Finding::ok(format!("{}: the credentials may register runners at {url}; {known}", scale_set.name))
        }
    }
}

/// How many of the resource's scale sets GitHub knows; `None` if there is no such group.
async fn registered(scale_set: &ScaleSet, service: &ActionsService) -> Result<Option<usize>, GitHubError> {
    let Some(group) = service.runner_group(&scale_set.runner_group).await? else { return Ok(None) };
    let mut known = 0;
    for instance in scale_set.instances() {
        known += usize::from(service.find_scale_set(group, &instance.name).await?.is_some());
    }
    Ok(Some(known))
}
