//! Tokens: who gets which, how long they live, and what a dead one is answered with.

use deskrun::simulator::{Generation, Options, Simulator};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::client::{AGENTS, GitHub, SETS, claims, options};

#[tokio::test]
async fn a_registration_token_names_one_scope_of_any_kind() {
    let github = GitHub::with(options(Generation::Broker));
    for (scope, url, other) in [
        ("orgs/acme", "http://ghes.test/acme/", "http://ghes.test/umbrella"),
        ("repos/acme/forge", "http://ghes.test/acme/forge", "http://ghes.test/acme"),
        ("enterprises/corp", "http://ghes.test/enterprises/corp", "http://ghes.test/corp"),
    ] {
        let token = github.registration_token("ghp_any", scope).await;
        assert_eq!(token.status, 201, "{scope}");
        let token = token.json()["token"].as_str().expect("a token").to_owned();
        assert_eq!(github.register(&token, other).await.status, 404, "{scope}: another scope");
        assert_eq!(github.register(&token, url).await.status, 200, "{scope}");
    }
}

#[tokio::test]
async fn rest_calls_work_with_and_without_the_prefix() {
    let github = GitHub::with(options(Generation::Broker));
    for prefix in ["", "/api/v3"] {
        let url = format!("{prefix}/orgs/acme/actions/runners/registration-token");
        let reply = github.send("POST", &url, &[("authorization", "Bearer ghp_any")], "").await;
        assert_eq!(reply.status, 201, "{prefix}");
    }
}

#[tokio::test]
async fn bad_credentials_have_the_rest_shape() {
    let github = GitHub::with(Options { pat: Some("ghp_right".to_owned()), ..options(Generation::Broker) });
    assert_eq!(github.registration_token("ghp_right", "orgs/acme").await.status, 201);
    let refused = github.registration_token("ghp_wrong", "orgs/acme").await;
    assert_eq!(
        (refused.status, &refused.json()["message"], &refused.json()["status"]),
        (401, &json!("Bad credentials"), &json!("401"))
    );
    let wrong_scheme = [("authorization", "Bearer A")];
    let refused = github.send("POST", "/api/v3/actions/runner-registration", &wrong_scheme, "{}").await;
    assert_eq!(refused.status, 401, "RemoteAuth, not Bearer");
}

#[tokio::test]
async fn an_app_cannot_have_an_enterprise_and_its_token_dies_after_an_hour() {
    let github = GitHub::with(options(Generation::Broker));
    let url = "/api/v3/app/installations/1/access_tokens";
    let token = github.send("POST", url, &[("authorization", "Bearer any.app.jwt")], "").await.json()["token"].clone();
    let token = token.as_str().expect("a token");
    assert_eq!(github.registration_token(token, "enterprises/corp").await.status, 403);
    assert_eq!(github.registration_token(token, "orgs/acme").await.status, 201);
    github.pass(3600).await;
    assert_eq!(github.registration_token(token, "orgs/acme").await.status, 401);
}

#[tokio::test]
async fn app_jwts_are_verified_against_the_configured_key() {
    const KEY: &str = include_str!("app-key.pem");
    const OTHER: &str = include_str!("other-key.pem");
    let github = GitHub::with(Options { app_key: Some(KEY.to_owned()), ..options(Generation::Broker) });
    let now = github.simulator.now().as_second();
    let sign = |key: &str, claims: &Value| {
        let key = EncodingKey::from_rsa_pem(key.as_bytes()).expect("a key");
        encode(&Header::new(Algorithm::RS256), claims, &key).expect("a JWT")
    };
    for (why, token, status) in [
        ("right", sign(KEY, &json!({ "iss": "Iv1", "iat": now - 60, "exp": now + 480 })), 201),
        ("another key", sign(OTHER, &json!({ "iss": "Iv1", "iat": now - 60, "exp": now + 480 })), 401),
        ("expired", sign(KEY, &json!({ "iss": "Iv1", "iat": now - 600, "exp": now })), 401),
        ("too long", sign(KEY, &json!({ "iss": "Iv1", "iat": now, "exp": now + 601 })), 401),
        ("from the future", sign(KEY, &json!({ "iss": "Iv1", "iat": now + 5, "exp": now + 480 })), 401),
        ("no issuer", sign(KEY, &json!({ "iat": now, "exp": now + 480 })), 401),
        ("no JWT", "garbage".to_owned(), 401),
    ] {
        let header = format!("Bearer {token}");
        let url = "/api/v3/app/installations/1/access_tokens";
        assert_eq!(github.send("POST", url, &[("authorization", &header)], "").await.status, status, "{why}");
    }
    assert!(Simulator::new(Options { app_key: Some("no key".to_owned()), ..Options::default() }).is_err());
}

#[tokio::test]
async fn admin_and_queue_tokens_are_jwts_and_not_interchangeable() {
    let github = GitHub::listening(Generation::Pipelines).await;
    for (token, life) in [(&github.admin, 17 * 60), (&github.queue, 3600)] {
        let claims = claims(token);
        let moment = |name: &str| claims[name].as_i64().expect("a number");
        assert_eq!((moment("exp") - moment("iat"), moment("nbf") - moment("iat")), (life, 0));
        assert!(claims["jti"].is_string());
    }
    let admin = github.api_as(&github.queue, "GET", SETS, Value::Null).await;
    assert_eq!(admin.exception(), (401, "InvalidTokenException".to_owned()));
    let acquire = github.api("POST", &format!("{SETS}/1/acquirejobs"), json!([])).await;
    assert_eq!((acquire.status, acquire.bytes.len()), (401, 0), "acquire wants the queue token");
    let poll = GitHub { queue: github.admin.clone(), ..github.clone() }.poll(0, "1").await;
    assert_eq!((poll.status, poll.bytes.len()), (401, 0));
}

#[tokio::test]
async fn an_admin_token_dies_after_seventeen_minutes() {
    let github = GitHub::connected(Generation::Broker).await;
    github.pass(17 * 60 - 1).await;
    assert_eq!(github.api("GET", SETS, Value::Null).await.status, 200);
    github.pass(1).await;
    assert_eq!(github.api("GET", SETS, Value::Null).await.exception(), (401, "InvalidTokenException".to_owned()));
}

#[tokio::test]
async fn an_admin_token_sees_only_its_own_scope() {
    let one = GitHub::listening(Generation::Broker).await;
    let id = one.jit("r1").await.json()["runner"]["id"].clone();
    let mut two = one.clone();
    two.connect("http://ghes.test/umbrella", "orgs/umbrella").await;
    assert_eq!(two.api("GET", &format!("{SETS}/1"), Value::Null).await.status, 404);
    assert_eq!(two.api("GET", &format!("{AGENTS}/{id}"), Value::Null).await.status, 404);
    assert_eq!(two.api("DELETE", &format!("{AGENTS}/{id}"), Value::Null).await.status, 204);
    assert_eq!(one.api("GET", &format!("{AGENTS}/{id}"), Value::Null).await.status, 200, "not theirs to delete");
}

#[tokio::test]
async fn the_service_is_only_at_its_base_path_and_unknown_routes_are_a_bare_404() {
    let github = GitHub::listening(Generation::Broker).await;
    let beside = github.send("GET", &format!("/{SETS}"), &[("authorization", "Bearer x")], "").await;
    assert_eq!((beside.status, beside.text()), (401, "Invalid Claims".to_owned()));
    let acquire = github.api_as(&github.queue, "POST", &format!("{SETS}/1/acquirejobs"), json!([0])).await;
    assert_eq!((acquire.status, acquire.text()), (404, "404 page not found".to_owned()));
    assert!(acquire.headers["content-type"].to_str().expect("text").starts_with("text/plain"));
    assert!(acquire.headers.contains_key("X-GitHub-Request-Id") && acquire.headers.contains_key("ActivityId"));
}
