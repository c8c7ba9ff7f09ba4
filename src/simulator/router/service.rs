//! The Actions service: runner groups, scale sets, JIT configs, runners and sessions; all with the admin token.

use serde_json::{Value, json};

use super::answer::Answer;
use super::fault::Faulty;
use super::{Call, Route, field, text};
use crate::simulator::links::Links;
use crate::simulator::simulation::Simulator;
use crate::simulator::state::{NewScaleSet, Refusal, ScaleSetChange, State, list};

pub(super) fn answer(simulator: &Simulator, call: &Call, faulty: &Faulty) -> Result<Answer, Refusal> {
    simulator.with(|state| {
        let (tenant, links) = authorize(state, simulator, call)?;
        let service = Service { tenant: &tenant, links: &links, call, faulty };
        match &call.route {
            Route::RunnerGroups => Ok(service.groups(state)),
            Route::ScaleSetList => Ok(service.list(state)),
            Route::ScaleSetGet(id) => service.get(state, *id),
            Route::ScaleSetCreate => service.create(state),
            Route::ScaleSetUpdate(id) => service.update(state, *id),
            Route::ScaleSetDelete(id) => state.delete_scale_set(&tenant, *id).map(|()| Answer::empty(204)),
            Route::JitConfig(id) => service.jit_config(state, *id),
            Route::RunnerList => Ok(service.runners(state)),
            Route::RunnerGet(id) => Ok(Answer::json(state.runner_json(state.runner(&tenant, *id)?))),
            Route::RunnerDelete(id) => state.delete_runner(&tenant, *id).map(|()| Answer::empty(204)),
            Route::SessionCreate(set) => service.open(state, *set),
            Route::SessionRefresh(set, id) => {
                let token = state.refresh_session(&tenant, *set, id)?;
                Ok(Answer::json(state.session_json(*set, &token, &links)?))
            }
            Route::SessionDelete(set, id) => state.close_session(&tenant, *set, id).map(|()| Answer::empty(204)),
            _ => Err(Refusal::NoRoute),
        }
    })
}

/// The tenant of the admin token, which must be the one in the path where that names one.
pub(super) fn authorize(state: &State, simulator: &Simulator, call: &Call) -> Result<(String, Links), Refusal> {
    let tenant = state.admin(call.bearer())?;
    let id = state.tenant_id(&tenant);
    if call.tenant.as_ref().is_some_and(|named| *named != id) {
        return Err(Refusal::InvalidToken);
    }
    let links = call.links(simulator, id);
    Ok((tenant, links))
}

struct Service<'a> {
    tenant: &'a str,
    links: &'a Links,
    call: &'a Call,
    faulty: &'a Faulty,
}

impl Service<'_> {
    fn groups(&self, state: &State) -> Answer {
        let groups = state.groups(self.tenant, self.query("groupName"));
        let item = |group: &crate::simulator::state::Group| json!({ "id": group.id, "name": group.name, "size": 0, "isDefaultGroup": group.id == 1 });
        Answer::list(list(groups.iter().map(item).collect()))
    }

    fn list(&self, state: &State) -> Answer {
        let group = self.query("runnerGroupId").and_then(|id| id.parse().ok());
        let found = state.find_scale_sets(self.tenant, group, self.query("name"));
        Answer::list(list(found.into_iter().map(|set| state.scale_set_json(set, self.links, true)).collect()))
    }

    fn get(&self, state: &State, id: i64) -> Result<Answer, Refusal> {
        let set = state.scale_set(self.tenant, id)?;
        Ok(Answer::json(state.scale_set_json(set, self.links, true)))
    }

    fn create(&self, state: &mut State) -> Result<Answer, Refusal> {
        let body = self.call.json()?;
        let name = text(&body, "name").unwrap_or_default();
        let mut labels = labels(&body);
        if self.faulty.drops_labels() {
            labels = vec![(name.clone(), "System".to_owned())];
        }
        let new =
            NewScaleSet { name, group: group(&body), labels, disable_update: disable_update(&body) == Some(true) };
        let id = state.create_scale_set(self.tenant, new)?;
        let set = state.scale_set(self.tenant, id)?;
        Ok(Answer::json(state.scale_set_json(set, self.links, false)))
    }

    fn update(&self, state: &mut State, id: i64) -> Result<Answer, Refusal> {
        let body = self.call.json()?;
        let name = text(&body, "name").filter(|name| !name.is_empty());
        let change = ScaleSetChange { name, group: group(&body), disable_update: disable_update(&body) };
        state.update_scale_set(self.tenant, id, change)?;
        self.get(state, id)
    }

    fn jit_config(&self, state: &mut State, set: i64) -> Result<Answer, Refusal> {
        let body = self.call.json()?;
        let name = text(&body, "name").unwrap_or_default();
        let folder = text(&body, "workFolder").unwrap_or_default();
        let id = state.register_runner(self.tenant, set, &name, &folder)?;
        let config = state.jit_config(id, self.links)?;
        let runner = state.runner_json(state.runner(self.tenant, id)?);
        Ok(Answer::json(json!({ "runner": runner, "encodedJITConfig": config })))
    }

    fn runners(&self, state: &State) -> Answer {
        let found = state.find_runners(self.tenant, self.query("agentName"));
        Answer::list(list(found.into_iter().map(|runner| state.runner_json(runner)).collect()))
    }

    fn open(&self, state: &mut State, set: i64) -> Result<Answer, Refusal> {
        let body = self.call.json()?;
        let owner = text(&body, "ownerName").unwrap_or_default();
        let (_, token) = state.open_session(self.tenant, set, &owner)?;
        Ok(Answer::json(state.session_json(set, &token, self.links)?))
    }

    fn query(&self, name: &str) -> Option<&str> {
        self.call.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Names and types; a type that is missing or empty is `System`.
fn labels(body: &Value) -> Vec<(String, String)> {
    let items = field(body, "labels").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let kind =
        |label: &Value| text(label, "type").filter(|kind| !kind.is_empty()).unwrap_or_else(|| "System".to_owned());
    items.iter().filter_map(|label| Some((text(label, "name")?, kind(label)))).collect()
}

fn group(body: &Value) -> Option<i64> {
    field(body, "runnerGroupId")?.as_i64().filter(|id| *id != 0)
}

/// None where the setting is missing or empty: that means "unchanged".
fn disable_update(body: &Value) -> Option<bool> {
    field(field(body, "runnerSetting")?, "disableUpdate")?.as_bool()
}
