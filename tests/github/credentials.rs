//! Wrong credentials: each its own error with a way out, and no secret in any of them.

use deskrun::github::{AppIssuer, Credentials, GitHubError};
use deskrun::secret::Secret;
use deskrun::simulator::{Action, Options, Trigger};

use crate::world::{World, service};

const TOKEN: &str = "ghp_hunter2";
const KEY: &str = include_str!("../simulator/app-key.pem");
const OTHER_KEY: &str = include_str!("../simulator/other-key.pem");

fn all_words(error: &GitHubError) -> String {
    let mut text = format!("{error} {error:?} {}", error.hint().unwrap_or_default());
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

async fn refused(world: &World, credentials: Credentials, url: &str) -> (GitHubError, String) {
    let service = service(&world.simulator, &world.environment, credentials, url);
    let error = service.find_scale_set(1, "metal").await.expect_err("the credentials are wrong");
    let words = all_words(&error);
    for secret in ["hunter2", "PRIVATE KEY", &KEY[100..140], "eyJ"] {
        assert!(!words.contains(secret), "`{secret}` stands in {words}");
    }
    (error, words)
}

fn app(key: &str) -> Credentials {
    Credentials::App { issuer: AppIssuer("12".into()), installation_id: 7, private_key: Secret::new(key) }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_wrong_credentials_is_told_apart_with_a_way_out() {
    let world = World::with(Options { pat: Some("right".into()), app_key: Some(KEY.into()), ..Options::default() });
    let url = "http://127.0.0.1/acme";
    let token = || Credentials::Token(Secret::new(TOKEN));
    let (error, words) = refused(&world, token(), url).await;
    assert_eq!(error.status(), Some(401));
    assert!(words.contains("wrong, expired or revoked"), "{words}");

    let refuse =
        |code, body: &str| Action::Status { code, retry_after: None, body: Some(body.to_owned()), after_effect: false };
    for (code, hint) in [(403, "lacks permission"), (404, "names nothing that the token may see")] {
        world.fault("registration-token", Trigger::Next(1), refuse(code, "no"));
        let (_, words) = refused(&world, token(), url).await;
        assert!(words.contains(hint), "{words}");
    }
    let (_, words) = refused(&world, app(OTHER_KEY), url).await;
    assert!(words.contains("does not belong to this App"), "{words}");
    world.fault("installation-token", Trigger::Next(1), refuse(404, "Not Found"));
    let (_, words) = refused(&world, app(KEY), url).await;
    assert!(words.contains("not installed"), "{words}");
    world.fault("installation-token", Trigger::Next(1), refuse(401, "'Issued at' claim ('iat') must be in the past"));
    let (_, words) = refused(&world, app(KEY), url).await;
    assert!(words.contains("set the clock"), "{words}");
    let (_, words) = refused(&world, app("no key"), url).await;
    assert!(words.contains("not an RSA key"), "{words}");
    let (_, words) = refused(&world, app(KEY), "http://127.0.0.1/enterprises/acme").await;
    assert!(words.contains("cannot register runners for an enterprise"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn right_credentials_of_both_kinds_get_in() {
    let world = World::with(Options { pat: Some("right".into()), app_key: Some(KEY.into()), ..Options::default() });
    for credentials in [Credentials::Token(Secret::new("right\n")), app(KEY)] {
        let service = service(&world.simulator, &world.environment, credentials, "http://127.0.0.1/acme");
        assert_eq!(service.find_scale_set(1, "metal").await.unwrap(), None);
    }
}
