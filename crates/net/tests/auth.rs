//! What proves identity, where it goes and where it must not.

mod support;

use axum::Router;
use axum::body::Body;
use axum::extract::Request as AxumRequest;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::response::Redirect;
use axum::response::Response;
use axum::routing::any;
use axum::routing::get;
use axum::routing::post;
use bytes::Bytes;
use http::Request;
use net::HttpAuth;
use net::HttpClientConfig;
use net::NetError;
use net::OAuth2Config;
use net::ProxyConfig;
use net::Reply;
use net::SecretSource;
use net::TlsConfig;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::*;

#[tokio::test]
async fn redirects_are_followed_only_when_allowed_and_never_carry_a_signature_or_secret_away() {
    let other = http(Router::new().route("/end", any(echo))).await;
    let there = format!("http://{}/end", other.addr);
    let routes = Router::new()
        .route("/away", any(move || async move { Redirect::temporary(&there) }))
        .route("/near", any(|| async { Redirect::temporary("/end?x=1") }))
        .route("/see", post(|| async { Redirect::to("/method") }))
        .route("/method", any(|request: AxumRequest| async move { request.method().to_string() }))
        .route("/loop", any(|| async { Redirect::temporary("/loop") }))
        .route("/end", any(echo));
    let server = http(routes).await;
    let url = |path: &str| format!("http://{}{path}", server.addr);
    let config = HttpClientConfig {
        auth: Some(HttpAuth::Header { kind: "Bearer".to_owned(), credentials: inline("tok") }),
        headers: vec![("X-Scope-OrgID".to_owned(), inline("tenant"))],
        ..HttpClientConfig::default()
    };
    let following = client(&config);
    let text = |reply: Reply| String::from_utf8(reply.body.to_vec()).unwrap();
    let near = text(fetch(&following, &url("/near")).await.unwrap());
    assert!(near.contains("authorization: Bearer tok") && near.contains("x-scope-orgid: tenant"), "{near}");
    let away = text(fetch(&following, &url("/away")).await.unwrap());
    assert!(!away.contains("tok") && !away.contains("tenant"), "{away}");
    let see = Request::post(url("/see")).body(Bytes::from_static(b"x")).unwrap();
    assert_eq!(text(following.send(see, SECONDS, 100).await.unwrap()), "GET");
    assert_eq!(fetch(&following, &url("/loop")).await.unwrap_err().kind(), "redirect");

    let staying = client(&HttpClientConfig { follow_redirects: false, ..config });
    assert_eq!(fetch(&staying, &url("/near")).await.unwrap().status, StatusCode::TEMPORARY_REDIRECT);
    let signed = Request::get(url("/near")).header("authorization", "AWS4-HMAC-SHA256 x").body(Bytes::new()).unwrap();
    assert_eq!(following.send(signed, SECONDS, 100).await.unwrap().status, StatusCode::TEMPORARY_REDIRECT);
}

#[tokio::test]
async fn file_secrets_are_read_at_each_request_and_their_absence_names_the_file() {
    let server = http(Router::new().route("/", get(echo))).await;
    let url = format!("http://{}/", server.addr);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "one\n").unwrap();
    let auth = HttpAuth::Basic { username: inline("u"), password: Some(SecretSource::File(file.clone())) };
    let client = client(&HttpClientConfig { auth: Some(auth), ..HttpClientConfig::default() });
    let seen = |reply: Reply| String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(seen(fetch(&client, &url).await.unwrap()).contains("authorization: Basic dTpvbmU="));
    std::fs::write(&file, "two").unwrap();
    assert!(seen(fetch(&client, &url).await.unwrap()).contains("authorization: Basic dTp0d28="));
    std::fs::remove_file(&file).unwrap();
    let error = fetch(&client, &url).await.unwrap_err();
    assert!(error.to_string().contains("password"), "{error}");
    // A user name in the URL is basic authentication too.
    let plain = self::client(&HttpClientConfig::default());
    let reply = fetch(&plain, &format!("http://u:o%6ee@{}/", server.addr)).await.unwrap();
    assert!(seen(reply).contains("authorization: Basic dTpvbmU="));
}

#[tokio::test]
async fn an_oauth2_token_is_kept_until_refused_and_then_asked_for_once_more() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    // This endpoint wants the secret in the form, so the first way it is tried fails.
    let token = move |body: String| {
        let count = Arc::clone(&count);
        async move {
            let form: BTreeMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
            if form.get("client_secret").map(String::as_str) != Some("s&cret") {
                return (StatusCode::UNAUTHORIZED, r#"{"error":"invalid_client"}"#.to_owned()).into_response();
            }
            assert_eq!(
                (form["grant_type"].as_str(), form["scope"].as_str(), body.contains("audience=x&audience=y")),
                ("client_credentials", "a b", true)
            );
            let n = count.fetch_add(1, Ordering::SeqCst) + 1;
            format!(r#"{{"access_token":"t{n}","token_type":"bearer","expires_in":"3600"}}"#).into_response()
        }
    };
    let guarded = |headers: HeaderMap| async move {
        let ok = headers.get("authorization").is_some_and(|v| v == "Bearer t2");
        let status = if ok { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        Response::builder().status(status).body(Body::empty()).unwrap()
    };
    let server = http(Router::new().route("/token", post(token)).route("/guarded", get(guarded))).await;
    let oauth2 = OAuth2Config {
        client_id: "me".to_owned(),
        client_secret: inline("s&cret"),
        scopes: vec!["a".to_owned(), "b".to_owned()],
        token_url: format!("http://{}/token", server.addr).parse().unwrap(),
        endpoint_params: BTreeMap::from([("audience".to_owned(), vec!["x".to_owned(), "y".to_owned()])]),
        timeout: None,
        tls: TlsConfig::default(),
        proxy: ProxyConfig::None,
    };
    let config =
        |oauth2| HttpClientConfig { auth: Some(HttpAuth::OAuth2(Box::new(oauth2))), ..HttpClientConfig::default() };
    let right = client(&config(oauth2.clone()));
    let url = format!("http://{}/guarded", server.addr);
    for _ in 0..3 {
        assert_eq!(fetch(&right, &url).await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2, "t1 was refused, t2 was kept");

    let wrong = client(&config(OAuth2Config { client_secret: inline("hunter2"), ..oauth2 }));
    let error = fetch(&wrong, &url).await.unwrap_err();
    assert!(matches!(&error, NetError::Token { detail, .. } if detail.contains("invalid_client")), "{error}");
    assert!(!error.to_string().contains("hunter2"));
}

#[tokio::test]
async fn certificates_in_a_store_are_waited_for_and_nothing_is_sent_without_them() {
    let stored = std::sync::Arc::new(net::StoredSecret::new("vault://kv/agent#ca"));
    let config = net::HttpClientConfig {
        tls: net::TlsConfig { ca: Some(net::Pem::Stored(std::sync::Arc::clone(&stored))), ..net::TlsConfig::default() },
        ..net::HttpClientConfig::default()
    };
    let client = net::Client::new(&config, net::ClientOptions::default()).unwrap();
    let send = async || {
        let request = http::Request::get("https://127.0.0.1:1/").body(bytes::Bytes::new()).unwrap();
        client.send(request, std::time::Duration::from_secs(10), 1024).await.unwrap_err().to_string()
    };
    let error = send().await;
    assert!(error.contains("vault://kv/agent#ca") && error.contains("not read yet"), "{error}");
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap().self_signed(&key).unwrap();
    stored.put(net::Secret::new(certificate.pem()));
    // Now it is only that nobody listens there.
    let error = send().await;
    assert!(!error.contains("vault://") && error.contains("127.0.0.1:1"), "{error}");
}
