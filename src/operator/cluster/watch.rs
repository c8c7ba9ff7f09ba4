//! A watch that no silent server holds up: the client library waits for the answer to a list, and for the beginning of a watch,
//! as long as the connection lives. Which objects, and what they mean, is not known here.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use kube::api::Api;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Config, Event, watcher};
use serde::de::DeserializeOwned;

use crate::causes;

/// How long a list may be silent.
const LISTING: Duration = Duration::from_mins(1);
/// Without any change for so long everything is listed anew: whoever answers no request would not be noticed otherwise.
const QUIET: Duration = Duration::from_mins(15);

/// Objects of a kind, and what becomes of them.
pub(super) struct Watch<K> {
    api: Api<K>,
    config: Config,
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    lists: bool,
}

impl<K> Watch<K>
where
    K: kube::Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    pub(super) fn new(api: Api<K>, config: Config) -> Self {
        let events = watcher(api.clone(), config.clone()).default_backoff().boxed();
        Self { api, config, events, lists: true }
    }

    /// Waits for what happens next. The error says why nothing can be seen for now; whoever asks again, waits until it can.
    pub(super) async fn next(&mut self) -> Result<Event<K>, String> {
        loop {
            let patience = if self.lists { LISTING } else { QUIET };
            match tokio::time::timeout(patience, self.events.next()).await {
                Ok(Some(event)) => {
                    match &event {
                        Ok(Event::Init) => self.lists = true,
                        Ok(Event::InitDone) => self.lists = false,
                        _ => {}
                    }
                    return event.map_err(|error| causes::in_one_line(&error));
                }
                // A watch has no end of its own.
                Ok(None) => *self = Self::new(self.api.clone(), self.config.clone()),
                Err(_) => {
                    let was_listing = self.lists;
                    *self = Self::new(self.api.clone(), self.config.clone());
                    if was_listing {
                        return Err(format!("the API server has not answered for {} s", LISTING.as_secs()));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use k8s_openapi::api::core::v1::Secret;
    use kube::Client;
    use kube::client::Body;
    use tokio::time::Instant;

    use super::*;

    /// A server that lets the requests of these numbers wait for ever, and has no objects.
    fn silent_at(silent: &'static [usize], asked: &Arc<AtomicUsize>) -> Api<Secret> {
        let asked = Arc::clone(asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            let number = asked.fetch_add(1, Ordering::SeqCst);
            async move {
                // A watch that has begun and shows nothing is what a watch is.
                if silent.contains(&number) || request.uri().query().unwrap_or_default().contains("watch=true") {
                    std::future::pending::<()>().await;
                }
                let list =
                    r#"{"kind": "SecretList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": []}"#;
                Ok::<_, std::convert::Infallible>(Response::new(Body::from(list.as_bytes().to_vec())))
            }
        });
        Api::namespaced(Client::new(service, "ci"), "ci")
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_is_not_answered_is_asked_for_again_and_said() {
        let (asked, begun) = (Arc::default(), Instant::now());
        let mut watch = Watch::new(silent_at(&[0], &asked), Config::default());
        assert!(matches!(watch.next().await, Ok(Event::Init)));
        let words = watch.next().await.expect_err("nobody answers");
        assert_eq!(words, "the API server has not answered for 60 s");
        assert_eq!(begun.elapsed(), LISTING);
        assert!(matches!(watch.next().await, Ok(Event::Init)));
        assert!(matches!(watch.next().await, Ok(Event::InitDone)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_never_begins_is_followed_by_another_list() {
        let (asked, begun) = (Arc::default(), Instant::now());
        let mut watch = Watch::new(silent_at(&[], &asked), Config::default());
        assert!(matches!(watch.next().await, Ok(Event::Init)));
        assert!(matches!(watch.next().await, Ok(Event::InitDone)));
        assert!(matches!(watch.next().await, Ok(Event::Init)));
        assert_eq!(begun.elapsed(), QUIET);
        assert!(matches!(watch.next().await, Ok(Event::InitDone)));
        assert_eq!(asked.load(Ordering::SeqCst), 3, "two lists, and a watch that never began");
    }
}
