//! Routes for the stand-in runner. GitHub has none of them; its runner speaks another, far larger protocol.
//!
//! The secret from `.deskrun-sim` in the JIT config (`{"url", "runnerId", "runnerName", "secret"}`) goes into
//! `Authorization: Bearer SECRET`. A wrong one is 401. Once the registration is deleted every route answers 410, for an
//! id that never was 404: the process should exit 0.
//!
//! | route | request | answer |
//! | --- | --- | --- |
//! | `POST /sim/runners/{id}/connect` | `{}` | 200 `{"runnerId", "runnerName", "workFolder"}`; 409 while it is online already |
//! | `GET /sim/runners/{id}/next` | query `job=ID` while working on one | 200 `{"jobId", "displayName", "script", "env": {…}}`, or 204 after the hold |
//! | `POST /sim/runners/{id}/log` | any text | 200 `{}`; a sign of life |
//! | `POST /sim/runners/{id}/finish` | `{"result": "succeeded" \| "failed" \| "canceled"}` | 200 `{}` |
//!
//! A runner that says nothing for ten minutes is lost; a held `next` counts as saying something. A canceled job ends
//! its runner's registration: a runner that keeps `next?job=ID` open while it works learns of it by a 410.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::answer::Answer;
use super::{Call, Route, text};
use crate::simulator::simulation::Simulator;
use crate::simulator::state::{Conclusion, Refusal, State, Work};

pub(super) async fn answer(simulator: &Simulator, call: &Call) -> Result<Answer, Refusal> {
    match call.route {
        Route::SimConnect(id) => simulator.with(|state| {
            state.know_runner(id, call.bearer())?;
            state.connect_runner(id)?;
            Ok(Answer::json(state.greeting(id)))
        }),
        Route::SimNext(id) => next(simulator, call, id).await,
        Route::SimLog(id) => simulator.with(|state| {
            state.know_runner(id, call.bearer())?;
            state.hear_runner(id)?;
            Ok(Answer::json(json!({})))
        }),
        Route::SimFinish(id) => finish(simulator, call, id),
        _ => Err(Refusal::NoRoute),
    }
}

async fn next(simulator: &Simulator, call: &Call, id: i64) -> Result<Answer, Refusal> {
    simulator.with(|state| state.know_runner(id, call.bearer()))?;
    let known = call.query.get("job").map(String::as_str);
    let _held = Held::begin(simulator, id);
    let hold = SignedDuration::from_secs(i64::from(simulator.options().hold_seconds));
    let step = |state: &mut State| match state.next_work(id, known)? {
        Work::Job(job) => Ok::<_, Refusal>(Some(job)),
        Work::Nothing => Ok(None),
    };
    let job = simulator.hold(hold, step).await?;
    Ok(job.map_or_else(
        || Answer::empty(204),
        |job| {
            let env = json!({ "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_JOB": job.display_name, "DESKRUN_JOB_ID": job.id });
            Answer::json(json!({ "jobId": job.id, "displayName": job.display_name, "script": job.script, "env": env }))
        },
    ))
}

fn finish(simulator: &Simulator, call: &Call, id: i64) -> Result<Answer, Refusal> {
    simulator.with(|state| {
        state.know_runner(id, call.bearer())?;
        let result: Option<Conclusion> = text(&call.json()?, "result").as_deref().and_then(Conclusion::of);
        let result =
            result.ok_or_else(|| Refusal::BadRequest("`result` is succeeded, failed or canceled".to_owned()))?;
        state.finish_job(id, result)?;
        Ok(Answer::json(Value::Object(serde_json::Map::new())))
    })
}

/// A call being held, until it is answered or its caller goes away.
struct Held<'a> {
    simulator: &'a Simulator,
    id: i64,
}

impl<'a> Held<'a> {
    fn begin(simulator: &'a Simulator, id: i64) -> Self {
        simulator.with(|state| state.hold_runner(id, true));
        Self { simulator, id }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.simulator.with(|state| state.hold_runner(self.id, false));
    }
}
