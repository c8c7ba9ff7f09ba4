//! The queue of a scale set: polls that are held, acknowledgements, and acquiring jobs; all but the last with the queue
//! token.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::answer::Answer;
use super::fault::Faulty;
use super::{Call, Route, service};
use crate::simulator::simulation::Simulator;
use crate::simulator::state::{Envelope, Refusal, State, list};

pub(super) async fn answer(simulator: &Simulator, call: &Call, faulty: &Faulty) -> Result<Answer, Refusal> {
    match &call.route {
        Route::Poll(set) => poll(simulator, call, *set, faulty).await,
        Route::Acknowledge(set, message) => simulator.with(|state| {
            let (own, _) = authorize(state, call, *set)?;
            if !faulty.keeps_message() {
                state.acknowledge(own, *message);
            }
            Ok(Answer::empty(204))
        }),
        Route::Acquire(set) => acquire(simulator, call, *set),
        Route::Acquirable(set) => simulator.with(|state| {
            let (tenant, links) = service::authorize(state, simulator, call)?;
            let jobs = state.acquirable(&tenant, *set)?;
            if jobs.is_empty() {
                return Ok(Answer::empty(204));
            }
            Ok(Answer::list(list(jobs.into_iter().map(|job| state.acquirable_json(job, *set, &links)).collect())))
        }),
        _ => Err(Refusal::NoRoute),
    }
}

/// The scale set and session of the queue token; the path may name the set, too.
fn authorize(state: &State, call: &Call, set: Option<i64>) -> Result<(i64, String), Refusal> {
    let (own, session) = state.queue(call.bearer())?;
    if set.is_some_and(|set| set != own) { Err(Refusal::Unauthorized) } else { Ok((own, session)) }
}

async fn poll(simulator: &Simulator, call: &Call, set: Option<i64>, faulty: &Faulty) -> Result<Answer, Refusal> {
    let (set, session) = simulator.with(|state| authorize(state, call, set))?;
    let capacity = capacity(call)?;
    let last = call.query.get("lastMessageId").and_then(|id| id.parse().ok()).unwrap_or(0);
    let seconds = if faulty.holds_nothing() { 0 } else { simulator.options().hold_seconds };
    let _held = Held::begin(simulator, set, &session);
    let step = |state: &mut State| {
        if state.session_of(set) == Some(session.as_str()) {
            Ok(state.poll(set, last, capacity))
        } else {
            Err(Refusal::Unauthorized)
        }
    };
    let found = simulator.hold(SignedDuration::from_secs(i64::from(seconds)), step).await?;
    Ok(found.map_or_else(
        || Answer::empty(202),
        |envelope| {
            let links = call.links(simulator, call.tenant.clone().unwrap_or_default());
            Answer::json(envelope_json(envelope, &links.api(&format!("runtime/runnerscalesets/{set}/acquirejobs"))))
        },
    ))
}

/// No header is no limit: old clients send none.
fn capacity(call: &Call) -> Result<Option<u64>, Refusal> {
    let Some(header) = call.headers.get("X-ScaleSetMaxCapacity") else { return Ok(None) };
    let number = header.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or(Refusal::BadCapacity)
}

fn envelope_json(mut envelope: Envelope, acquire: &str) -> Value {
    for entry in &mut envelope.entries {
        // Offers name where to acquire, as the caller sees us.
        if let Some(url) = entry.get_mut("acquireJobUrl") {
            *url = acquire.into();
        }
    }
    json!({
        "messageId": envelope.id,
        "messageType": "RunnerScaleSetJobMessages",
        "body": Value::from(envelope.entries).to_string(),
        "statistics": envelope.statistics.to_json(),
    })
}

fn acquire(simulator: &Simulator, call: &Call, set: i64) -> Result<Answer, Refusal> {
    simulator.with(|state| {
        authorize(state, call, Some(set))?;
        let ids: Vec<i64> = serde_json::from_slice(&call.body)
            .map_err(|error| Refusal::BadRequest(format!("The body is not a list of request ids: {error}")))?;
        let got = state.acquire(set, &ids);
        Ok(Answer::list(list(got.into_iter().map(Value::from).collect())))
    })
}

/// A poll being held, until it is answered or its caller goes away.
struct Held<'a> {
    simulator: &'a Simulator,
    set: i64,
    session: &'a str,
}

impl<'a> Held<'a> {
    fn begin(simulator: &'a Simulator, set: i64, session: &'a str) -> Self {
        simulator.with(|state| state.hold_session(set, session, true));
        Self { simulator, set, session }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.simulator.with(|state| state.hold_session(self.set, self.session, false));
    }
}
