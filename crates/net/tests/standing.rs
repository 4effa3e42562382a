//! Standing requests: their connection, the framing of answers, and what must not pass for an answer.

mod support;

use std::{io::Write, time::Duration};

use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    response::Redirect,
    routing::{any, get},
};
use net::{Client, ClientOptions, HttpAuth, HttpClientConfig, NetError, ProxyConfig, StandingRequest, TlsConfig};
use support::scripted::*;
use support::*;

fn plain(url: &str) -> StandingRequest {
    standing(&client(&HttpClientConfig::default()), url)
}

#[tokio::test]
async fn one_connection_carries_all_requests_whatever_the_framing() {
    let server = scripted(|n| {
        let answer = match n % 4 {
            0 => ok("plain\n"),
            1 => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\npla\r\n3;x=y\r\nin\n\r\n0\r\nA: trailer\r\n\r\n".to_vec(),
            2 => b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 6\r\n\r\nplain\n".to_vec(),
            _ => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(b"plain\n").unwrap();
                let body = encoder.finish().unwrap();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                [head.as_bytes(), &body].concat()
            }
        };
        (answer, Then::Go)
    })
    .await;
    let mut request = plain(&server.url());
    for _ in 0..8 {
        assert_eq!(ask(&mut request).await.unwrap(), "plain\n");
    }
    assert_eq!(server.connections(), [0; 8]);
    let head = &server.seen()[7];
    assert!(head.head.starts_with("GET /metrics HTTP/1.1\r\n"), "{}", head.head);
    assert_eq!(head.header("host"), Some(server.addr.to_string().as_str()));
    assert_eq!(head.header("accept-encoding"), Some("gzip"));
    assert!(head.header("user-agent").unwrap().starts_with("Sigpost/"));
    assert_eq!((head.header("connection"), head.header("content-length")), (None, None));
}

#[tokio::test]
async fn large_bodies_keep_the_connection() {
    let text = "a_metric{of=\"some\"} 1\n".repeat(50_000);
    let body = text.clone();
    let server = scripted(move |_| (ok(&body), Then::Go)).await;
    let mut request = plain(&server.url());
    let mut buf = Vec::new();
    for _ in 0..3 {
        let head = request.send_into(SECONDS, 4 << 20, &mut buf).await.unwrap();
        assert!(buf == text.as_bytes() && head.wire_bytes == text.len() as u64 && !head.truncated);
    }
    assert_eq!(server.connections(), [0; 3]);
}

#[tokio::test]
async fn a_connection_that_the_far_end_closed_between_is_replaced_and_the_request_sent_once_more() {
    let mut server = scripted(|_| (ok("x"), Then::Close)).await;
    let mut request = plain(&server.url());
    for round in 0..3 {
        assert_eq!(ask(&mut request).await.unwrap(), "x");
        assert_eq!(server.ended.recv().await, Some(round), "the server closed it before the next request");
    }
    assert_eq!(server.connections(), [0, 1, 2]);
}

#[tokio::test]
async fn a_connection_that_ends_at_the_second_request_is_replaced_but_only_once() {
    // The second request is read and dropped without an answer, as a server that just gave up on an idle connection does.
    let silent = scripted(|n| match n {
        1 => (Vec::new(), Then::Close),
        _ => (ok("x"), Then::Go),
    })
    .await;
    let mut request = plain(&silent.url());
    for _ in 0..2 {
        assert_eq!(ask(&mut request).await.unwrap(), "x");
    }
    assert_eq!(silent.connections(), [0, 0, 1]);

    let dead = scripted(|n| if n == 0 { (ok("x"), Then::Go) } else { (Vec::new(), Then::Close) }).await;
    let mut request = plain(&dead.url());
    ask(&mut request).await.unwrap();
    assert_eq!(ask(&mut request).await.unwrap_err().kind(), "protocol");
    assert_eq!(dead.connections(), [0, 0, 1]);

    // Once an answer has begun it is not asked for again.
    let begun = scripted(|n| if n == 0 { (ok("x"), Then::Go) } else { (b"HTTP/1.1 200".to_vec(), Then::Close) }).await;
    let mut request = plain(&begun.url());
    ask(&mut request).await.unwrap();
    assert_eq!(ask(&mut request).await.unwrap_err().kind(), "protocol");
    assert_eq!(begun.connections(), [0, 0]);
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error() {
    let cut: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhalf",
        b"HTTP/1.0 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
    ];
    let server = scripted(move |n| (cut[n].to_vec(), Then::Close)).await;
    let mut request = plain(&server.url());
    for n in 0..cut.len() {
        let error = ask(&mut request).await.unwrap_err();
        assert_eq!(error.kind(), "protocol", "{n}: {error}");
        assert!(error.to_string().contains(&server.addr.to_string()), "{error}");
    }
    assert_eq!(server.connections(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn the_status_of_a_refusal_survives_a_cut_body() {
    let server = scripted(|n| match n {
        0 => (b"HTTP/1.1 503 Busy\r\ncontent-length: 10\r\n\r\nhalf".to_vec(), Then::Close),
        _ => (format!("HTTP/1.1 403 No\r\ncontent-length: 100\r\n\r\n{}", "x".repeat(100)).into_bytes(), Then::Go),
    })
    .await;
    let mut request = plain(&server.url());
    let mut buf = Vec::new();
    let head = request.send_into(SECONDS, LIMIT, &mut buf).await.unwrap();
    assert_eq!((head.status, head.truncated), (StatusCode::SERVICE_UNAVAILABLE, true));
    for _ in 0..2 {
        let head = request.send_into(SECONDS, 50, &mut buf).await.unwrap();
        assert_eq!((head.status, head.truncated, buf.len()), (StatusCode::FORBIDDEN, true, 50));
        let head = request.send_into(SECONDS, 100, &mut buf).await.unwrap();
        assert_eq!((head.status, head.truncated, buf.len()), (StatusCode::FORBIDDEN, false, 100));
    }
    // A connection with an unread rest is not used again, one that was read to the end is.
    assert_eq!(server.connections(), [0, 1, 2, 2, 3]);
}

#[tokio::test]
async fn answers_of_http_1_0_and_connection_close_are_read_and_their_connections_not_reused() {
    let server = scripted(|n| match n {
        0 => (b"HTTP/1.0 200 OK\r\n\r\nto the end".to_vec(), Then::Close),
        1 => (b"HTTP/1.0 200 OK\r\ncontent-length: 10\r\n\r\nto the end".to_vec(), Then::Hang),
        2 => (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end".to_vec(), Then::Close),
        _ => (b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 10\r\n\r\nto the end".to_vec(), Then::Hang),
    })
    .await;
    let mut request = plain(&server.url());
    for _ in 0..4 {
        assert_eq!(ask(&mut request).await.unwrap(), "to the end");
    }
    assert_eq!(server.connections(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn bytes_after_an_answer_end_the_connection_and_are_no_answer() {
    let server = scripted(|n| {
        let extra: &[u8] = if n == 0 { b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged" } else { b"" };
        ([&ok("honest"), extra].concat(), Then::Go)
    })
    .await;
    let mut request = plain(&server.url());
    for _ in 0..3 {
        assert_eq!(ask(&mut request).await.unwrap(), "honest");
    }
    assert_eq!(server.connections(), [0, 1, 1]);
}

#[tokio::test]
async fn heads_are_bounded() {
    let large = |bytes: usize| {
        format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 1\r\n\r\nx", "y".repeat(bytes)).into_bytes()
    };
    let many = |count: usize| {
        format!("HTTP/1.1 200 OK\r\n{}content-length: 1\r\n\r\nx", "a: b\r\n".repeat(count)).into_bytes()
    };
    let answers = [large(8 << 10), many(50), large(1 << 20), many(1000), b"HTTP/1.1 what\r\n\r\n".to_vec()];
    let server = scripted(move |n| (answers[n].clone(), Then::Go)).await;
    let mut request = plain(&server.url());
    for n in 0..5 {
        match ask(&mut request).await {
            Ok(body) => assert!(n < 2 && body == "x"),
            Err(error) => assert!(n >= 2 && error.kind() == "protocol", "{n}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_far_end_that_dawdles_ends_at_the_timeout_and_loses_its_connection() {
    let mut server = scripted(|n| match n {
        0 => (Vec::new(), Then::Hang),
        1 => (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal".to_vec(), Then::Hang),
        2 => (b"HTTP/1.1 200 OK\r\ntransfer-enco".to_vec(), Then::Hang),
        _ => (ok("x"), Then::Go),
    })
    .await;
    let mut request = plain(&server.url());
    for (round, phase) in ["connecting", "reading", "connecting"].into_iter().enumerate() {
        let mut buf = Vec::new();
        let error = request.send_into(Duration::from_millis(200), LIMIT, &mut buf).await.unwrap_err();
        assert!(error.is_timeout() && error.to_string().contains(phase), "{error}");
        assert_eq!(server.ended.recv().await, Some(round));
    }
    assert_eq!(ask(&mut request).await.unwrap(), "x");
}

#[tokio::test]
async fn without_keepalives_each_request_says_so_and_has_its_own_connection() {
    let mut server = scripted(|_| (ok("x"), Then::Hang)).await;
    let config = HttpClientConfig { disable_keepalives: true, ..HttpClientConfig::default() };
    let mut request = standing(&client(&config), &server.url());
    for round in 0..2 {
        ask(&mut request).await.unwrap();
        assert_eq!(server.ended.recv().await, Some(round));
    }
    assert!(server.seen().iter().all(|s| s.header("connection") == Some("close")));
}

#[tokio::test]
async fn the_connection_ends_with_its_request_and_with_a_long_rest() {
    let mut server = scripted(|_| (ok("x"), Then::Go)).await;
    let client = client(&HttpClientConfig::default());
    let mut request = standing(&client, &server.url());
    ask(&mut request).await.unwrap();
    request.rest(Duration::from_secs(60));
    assert!(server.ended.try_recv().is_err());
    drop(request);
    assert_eq!(server.ended.recv().await, Some(0));

    let mut request = standing(&client, &server.url());
    ask(&mut request).await.unwrap();
    request.rest(Duration::from_secs(3600));
    assert_eq!(server.ended.recv().await, Some(1));

    // Lazily too: an idle connection that has grown too old is not used.
    let options = ClientOptions { pool_idle_timeout: Duration::ZERO, ..ClientOptions::default() };
    let mut request = standing(&Client::new(&HttpClientConfig::default(), options).unwrap(), &server.url());
    ask(&mut request).await.unwrap();
    ask(&mut request).await.unwrap();
    assert_eq!(server.connections(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_future_that_is_dropped_closes_its_connection() {
    let mut server = scripted(|n| if n == 1 { (Vec::new(), Then::Hang) } else { (ok("x"), Then::Go) }).await;
    let mut request = plain(&server.url());
    ask(&mut request).await.unwrap();
    let mut buf = Vec::new();
    tokio::select! {
        biased;
        _ = request.send_into(SECONDS, LIMIT, &mut buf) => panic!("it was never answered"),
        () = async { while server.seen().len() < 2 { tokio::task::yield_now().await } } => {}
    }
    assert_eq!(server.ended.recv().await, Some(0));
    assert_eq!(ask(&mut request).await.unwrap(), "x");
}

#[tokio::test]
async fn an_address_of_ipv6_keeps_its_brackets_and_the_target_its_encoding() {
    let server = scripted_at("[::1]:0", |_| (ok("x"), Then::Go)).await;
    let mut request = plain(&format!("http://{}/a%20b?c=d%7C|e#fragment", server.addr));
    ask(&mut request).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.header("host"), Some(server.addr.to_string().as_str()));
    assert!(seen.head.starts_with("GET /a%20b?c=d%7C|e HTTP/1.1\r\n"), "{}", seen.head);
}

#[tokio::test]
async fn identity_and_headers_of_the_configuration_go_with_every_request() {
    let server = scripted(|_| (ok("x"), Then::Go)).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let config = HttpClientConfig {
        auth: Some(HttpAuth::Header { kind: "Bearer".to_owned(), credentials: net::SecretSource::File(file.clone()) }),
        headers: vec![("X-Tenant".to_owned(), inline("t")), ("User-Agent".to_owned(), inline("mine"))],
        ..HttpClientConfig::default()
    };
    let mut request = standing(&client(&config), &server.url());
    for token in ["one", "two"] {
        std::fs::write(&file, token).unwrap();
        request.headers_mut().insert("x-round", token.parse().unwrap());
        ask(&mut request).await.unwrap();
    }
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ask(&mut request).await.unwrap_err().kind(), "file");
    for (seen, token) in server.seen().iter().zip(["one", "two"]) {
        assert_eq!(seen.header("authorization"), Some(format!("Bearer {token}").as_str()));
        assert_eq!((seen.header("x-tenant"), seen.header("user-agent")), (Some("t"), Some("mine")));
        assert_eq!(seen.header("x-round"), Some(token));
    }
    let mut request = plain(&format!("http://u:o%6ee@{}/", server.addr));
    ask(&mut request).await.unwrap();
    assert_eq!(server.seen()[2].header("authorization"), Some("Basic dTpvbmU="));
    assert!(!format!("{request:?}").contains("one"));
}

#[tokio::test]
async fn a_refused_token_is_asked_for_once_more_over_the_same_connection() {
    let tokens = scripted(|n| {
        let body = format!(r#"{{"access_token":"t{n}","expires_in":3600}}"#);
        (ok(&body), Then::Go)
    })
    .await;
    let server = scripted(|n| match n {
        0 => (b"HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\nno".to_vec(), Then::Go),
        _ => (ok("x"), Then::Go),
    })
    .await;
    let oauth2 = net::OAuth2Config {
        client_id: "me".to_owned(),
        client_secret: inline("s"),
        scopes: Vec::new(),
        token_url: tokens.url().parse().unwrap(),
        endpoint_params: Default::default(),
        timeout: None,
        tls: TlsConfig::default(),
        proxy: ProxyConfig::None,
    };
    let config = HttpClientConfig { auth: Some(HttpAuth::OAuth2(Box::new(oauth2))), ..HttpClientConfig::default() };
    let mut request = standing(&client(&config), &server.url());
    assert_eq!(ask(&mut request).await.unwrap(), "x");
    let sent: Vec<_> = server.seen().iter().map(|s| s.header("authorization").unwrap().to_owned()).collect();
    assert_eq!((sent, server.connections()), (vec!["Bearer t0".to_owned(), "Bearer t1".to_owned()], vec![0, 0]));
}

#[tokio::test]
async fn redirects_are_followed_by_the_same_rules_as_everywhere() {
    let other = http(Router::new().route("/end", any(echo))).await;
    let there = format!("http://{}/end", other.addr);
    let routes = Router::new()
        .route("/near", get(|| async { Redirect::temporary("/end") }))
        .route("/away", get(move || async move { Redirect::temporary(&there) }))
        .route("/loop", get(|| async { Redirect::temporary("/loop") }))
        .route("/end", any(echo));
    let server = http(routes).await;
    let config = HttpClientConfig {
        auth: Some(HttpAuth::Header { kind: "Bearer".to_owned(), credentials: inline("tok") }),
        ..HttpClientConfig::default()
    };
    let following = client(&config);
    let url = |path: &str| format!("http://{}{path}", server.addr);
    for _ in 0..2 {
        let near = ask(&mut standing(&following, &url("/near"))).await.unwrap();
        assert!(
            near.contains("authorization: Bearer tok") && near.contains(&format!("host: {}\n", server.addr)),
            "{near}"
        );
    }
    let away = ask(&mut standing(&following, &url("/away"))).await.unwrap();
    assert!(!away.contains("tok") && away.contains(&format!("host: {}\n", other.addr)), "{away}");
    assert_eq!(ask(&mut standing(&following, &url("/loop"))).await.unwrap_err().kind(), "redirect");

    let staying = client(&HttpClientConfig { follow_redirects: false, ..config });
    let head = standing(&staying, &url("/near")).send_into(SECONDS, LIMIT, &mut Vec::new()).await.unwrap();
    assert_eq!(head.status, StatusCode::TEMPORARY_REDIRECT);
}

#[tokio::test]
async fn what_a_proxy_carries_stays_with_the_proxy() {
    let server = scripted(|_| (ok("direct"), Then::Go)).await;
    let proxy = proxy(server.addr, "HTTP/1.1 200 OK\r\n\r\n").await;
    let through = |no_proxy: &str| {
        let url = format!("http://{}", proxy.addr).parse().unwrap();
        let proxy = ProxyConfig::Url { url, no_proxy: no_proxy.to_owned(), connect_headers: Vec::new() };
        client(&HttpClientConfig { proxy, ..HttpClientConfig::default() })
    };
    assert_eq!(ask(&mut standing(&through(""), &server.url())).await.unwrap(), "forwarded");
    assert_eq!(ask(&mut standing(&through("127.0.0.0/8"), &server.url())).await.unwrap(), "direct");
    assert_eq!(proxy.heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn failures_to_connect_are_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let error = ask(&mut plain(&format!("http://user:hunter2@{addr}/x?token=hunter2"))).await.unwrap_err();
    assert!(error.kind() == "connect" && error.to_string().contains("connection refused"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    let error = ask(&mut plain("http://no-such-host.invalid/")).await.unwrap_err();
    assert!(matches!(&error, NetError::Dns { host, .. } if host == "no-such-host.invalid"), "{error}");
    let plain_http = http(hello()).await;
    let error = ask(&mut plain(&format!("https://{}/", plain_http.addr))).await.unwrap_err();
    assert!(error.kind() == "tls" && error.to_string().contains("http://"), "{error}");

    let client = client(&HttpClientConfig::default());
    for bad in ["ftp://x/", "data:x"] {
        assert_eq!(client.standing(&bad.parse().unwrap(), HeaderMap::new()).unwrap_err().kind(), "url", "{bad}");
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_stops_at_the_connect_timeout() {
    // Accepted by the kernel, never answered.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let options = ClientOptions { connect_timeout: Duration::from_millis(200), ..ClientOptions::default() };
    let client = Client::new(&HttpClientConfig::default(), options).unwrap();
    let error = ask(&mut standing(&client, &url)).await.unwrap_err();
    assert!(error.kind() == "connect" && error.to_string().contains("0.2s"), "{error}");
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    // Where `localhost` has an IPv6 address as well, nobody listens there.
    let server = scripted(|_| (ok("x"), Then::Go)).await;
    let mut request = plain(&format!("http://localhost:{}/", server.addr.port()));
    assert_eq!(ask(&mut request).await.unwrap(), "x");
    assert_eq!(server.seen()[0].header("host"), Some(format!("localhost:{}", server.addr.port()).as_str()));
}
