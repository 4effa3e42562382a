//! The client against real sockets on loopback: TLS, proxies, limits, redirects, authentication.

mod support;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request as AxumRequest,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{any, get, post},
};
use bytes::Bytes;
use http::Request;
use net::{
    Client, ClientOptions, HttpAuth, HttpClientConfig, NetError, OAuth2Config, Pem, ProxyConfig,
    ProxyEnvironment, Reply, Secret, SecretSource, TlsConfig, TlsVersion,
};
use support::{Authority, http, https, proxy, start};

const SECONDS: Duration = Duration::from_secs(20);
const AMP: &str = "aps-workspaces.us-east-1.amazonaws.com";

fn client(config: &HttpClientConfig) -> Client {
    Client::new(
        config,
        ClientOptions {
            file_check: Duration::ZERO,
            ..ClientOptions::default()
        },
    )
    .unwrap()
}

fn with_tls(tls: TlsConfig) -> HttpClientConfig {
    HttpClientConfig {
        tls,
        ..HttpClientConfig::default()
    }
}

fn trusting(ca: &Authority) -> TlsConfig {
    TlsConfig {
        ca: Some(ca.ca()),
        ..TlsConfig::default()
    }
}

fn get_request(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

async fn fetch(client: &Client, url: &str) -> Result<Reply, NetError> {
    client.send(get_request(url), SECONDS, 1 << 20).await
}

fn hello() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

fn inline(text: &str) -> SecretSource {
    SecretSource::Inline(Secret::new(text))
}

/// Answers with the request's headers, one a line.
async fn echo(headers: HeaderMap) -> String {
    headers
        .iter()
        .map(|(k, v)| format!("{k}: {}\n", v.to_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn https_needs_a_trusted_authority_and_says_how_to_add_one() {
    let ca = Authority::new();
    let server = https(hello(), ca.issue(&["127.0.0.1"]), None).await;
    let url = format!("https://{}/", server.addr);
    assert_eq!(
        fetch(&client(&with_tls(trusting(&ca))), &url)
            .await
            .unwrap()
            .body,
        "hello"
    );

    let error = fetch(&client(&with_tls(trusting(&Authority::new()))), &url)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "tls");
    assert!(error.to_string().contains("ca_file"), "{error}");

    let lax = TlsConfig {
        insecure_skip_verify: true,
        ..TlsConfig::default()
    };
    assert_eq!(
        fetch(&client(&with_tls(lax)), &url).await.unwrap().body,
        "hello"
    );
}

#[tokio::test]
async fn server_name_is_sent_and_verified_and_the_host_header_stays() {
    let ca = Authority::new();
    let server = https(
        Router::new().route("/", get(echo)),
        ca.issue(&["node.internal"]),
        None,
    )
    .await;
    let url = format!("https://{}/", server.addr);
    let error = fetch(&client(&with_tls(trusting(&ca))), &url)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, NetError::Tls { detail, .. } if detail.contains("server_name")),
        "{error}"
    );

    let named = TlsConfig {
        server_name: Some("node.internal".to_owned()),
        ..trusting(&ca)
    };
    let named = client(&with_tls(named));
    for _ in 0..2 {
        let reply = fetch(&named, &url).await.unwrap();
        let text = String::from_utf8(reply.body.to_vec()).unwrap();
        assert!(text.contains(&format!("host: {}\n", server.addr)), "{text}");
    }
    let wrong = TlsConfig {
        server_name: Some("other.internal".to_owned()),
        ..trusting(&ca)
    };
    assert_eq!(
        fetch(&client(&with_tls(wrong)), &url)
            .await
            .unwrap_err()
            .kind(),
        "tls"
    );
}

#[tokio::test]
async fn the_name_in_the_handshake_is_server_name() {
    let ca = Authority::new();
    // Only a rustls acceptor shows the name; the handshake stops after it.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let sni = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let start =
            tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream)
                .await
                .unwrap();
        start.client_hello().server_name().map(ToOwned::to_owned)
    });
    let named = TlsConfig {
        server_name: Some("node.internal".to_owned()),
        ..trusting(&ca)
    };
    assert!(
        fetch(&client(&with_tls(named)), &format!("https://{addr}/"))
            .await
            .is_err()
    );
    assert_eq!(sni.await.unwrap().as_deref(), Some("node.internal"));
}

#[tokio::test]
async fn a_client_certificate_is_presented_and_its_absence_explained() {
    let ca = Authority::new();
    let server = https(hello(), ca.issue(&["127.0.0.1"]), Some(ca.ca())).await;
    let url = format!("https://{}/", server.addr);
    let error = fetch(&client(&with_tls(trusting(&ca))), &url)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("client certificate"), "{error}");

    let (cert, key) = ca.issue(&["agent"]);
    let mine = TlsConfig {
        cert: Some(Pem::Inline(Secret::new(cert))),
        key: Some(Pem::Inline(Secret::new(key))),
        ..trusting(&ca)
    };
    assert_eq!(
        fetch(&client(&with_tls(mine)), &url).await.unwrap().body,
        "hello"
    );
}

#[tokio::test]
async fn a_changed_ca_file_is_used_for_new_connections_and_a_broken_one_is_not() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = https(hello(), new.issue(&["127.0.0.1"]), None).await;
    let url = format!("https://{}/", server.addr);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &old.pem).unwrap();
    let client = client(&with_tls(TlsConfig {
        ca: Some(Pem::File(file.clone())),
        ..TlsConfig::default()
    }));
    assert_eq!(fetch(&client, &url).await.unwrap_err().kind(), "tls");

    std::fs::write(dir.path().join("next"), &new.pem).unwrap();
    std::fs::rename(dir.path().join("next"), &file).unwrap();
    assert_eq!(fetch(&client, &url).await.unwrap().body, "hello");

    std::fs::write(&file, "garbage").unwrap();
    assert_eq!(fetch(&client, &url).await.unwrap().body, "hello");
}

#[tokio::test]
async fn unusable_certificates_are_named_and_never_shown() {
    let ca = Authority::new();
    let (cert, key) = ca.issue(&["a"]);
    let (_, other_key) = ca.issue(&["b"]);
    let pem = |text: &str| Some(Pem::Inline(Secret::new(text)));
    let cases = [
        (
            TlsConfig {
                cert: pem(&cert),
                key: pem(&other_key),
                ..TlsConfig::default()
            },
            "do not work together",
        ),
        (
            TlsConfig {
                cert: pem(&cert),
                ..TlsConfig::default()
            },
            "needs both",
        ),
        (
            TlsConfig {
                cert: pem(&cert),
                key: pem("hunter2"),
                ..TlsConfig::default()
            },
            "client key",
        ),
        (
            TlsConfig {
                ca: pem("nothing"),
                ..TlsConfig::default()
            },
            "BEGIN CERTIFICATE",
        ),
        (
            TlsConfig {
                ca: Some(Pem::File("/nonexistent/ca.pem".into())),
                ..TlsConfig::default()
            },
            "/nonexistent/ca.pem",
        ),
        (
            TlsConfig {
                min_version: Some(TlsVersion::Tls13),
                max_version: Some(TlsVersion::Tls12),
                ..TlsConfig::default()
            },
            "min_version",
        ),
        (
            TlsConfig {
                server_name: Some("not a name".to_owned()),
                ..TlsConfig::default()
            },
            "server_name",
        ),
    ];
    for (tls, expected) in cases {
        let error = Client::new(&with_tls(tls), ClientOptions::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert!(
            !error.contains("hunter2") && !error.contains(key.trim()),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_environment_proxy_carries_aws_hosts_even_when_it_is_on_loopback() {
    let ca = Authority::new();
    let server = https(hello(), ca.issue(&[AMP]), None).await;
    let proxy = proxy(server.addr, "HTTP/1.1 200 Connection established\r\n\r\n").await;
    let address = format!("http://us%65r:p%40ss@{}", proxy.addr);
    let environment =
        ProxyEnvironment::from_lookup(&|name| (name == "HTTPS_PROXY").then(|| address.clone()));
    let options = ClientOptions {
        proxy_environment: Some(environment),
        ..ClientOptions::default()
    };
    let config = HttpClientConfig {
        proxy: ProxyConfig::Environment,
        ..with_tls(trusting(&ca))
    };
    let client = Client::new(&config, options).unwrap();
    assert_eq!(
        fetch(&client, &format!("https://{AMP}/"))
            .await
            .unwrap()
            .body,
        "hello"
    );
    let head = proxy.heads.lock().unwrap()[0].clone();
    assert!(
        head.starts_with(&format!("CONNECT {AMP}:443 HTTP/1.1")),
        "{head}"
    );
    assert!(
        head.to_lowercase()
            .contains("proxy-authorization: basic dxnlcjpwqhnz"),
        "{head}"
    );

    // A destination on loopback does not go there.
    let local = https(hello(), ca.issue(&["127.0.0.1", "localhost"]), None).await;
    fetch(
        &client,
        &format!("https://localhost:{}/", local.addr.port()),
    )
    .await
    .unwrap();
    assert_eq!(proxy.heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_configured_proxy_gets_its_connect_headers_and_respects_no_proxy() {
    let ca = Authority::new();
    let server = https(hello(), ca.issue(&[AMP, "127.0.0.1"]), None).await;
    let proxy = proxy(server.addr, "HTTP/1.1 200 ok\r\n\r\n").await;
    let config = |no_proxy: &str| HttpClientConfig {
        proxy: ProxyConfig::Url {
            url: format!("http://{}", proxy.addr).parse().unwrap(),
            no_proxy: no_proxy.to_owned(),
            connect_headers: vec![("X-Team".to_owned(), Secret::new("blue"))],
        },
        ..with_tls(trusting(&ca))
    };
    assert_eq!(
        fetch(&client(&config("")), &format!("https://{AMP}/"))
            .await
            .unwrap()
            .body,
        "hello"
    );
    let head = proxy.heads.lock().unwrap()[0].to_lowercase();
    assert!(head.contains("x-team: blue"), "{head}");

    fetch(
        &client(&config("127.0.0.0/8")),
        &format!("https://{}/", server.addr),
    )
    .await
    .unwrap();
    assert_eq!(proxy.heads.lock().unwrap().len(), 1);
    // A configured proxy, unlike one of the environment, is obeyed for loopback too.
    fetch(&client(&config("")), &format!("https://{}/", server.addr))
        .await
        .unwrap();
    assert_eq!(proxy.heads.lock().unwrap().len(), 2);
    // Plain HTTP is forwarded in absolute form.
    assert_eq!(
        fetch(&client(&config("")), "http://plain.example/x")
            .await
            .unwrap()
            .body,
        "forwarded"
    );
    assert!(proxy.heads.lock().unwrap()[2].starts_with("GET http://plain.example/x HTTP/1.1"));
}

#[tokio::test]
async fn a_proxy_that_refuses_is_blamed_without_its_password() {
    for (answer, expected) in [
        (
            "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
            "user name and password",
        ),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "refused to open a tunnel"),
    ] {
        let proxy = proxy("127.0.0.1:1".parse().unwrap(), answer).await;
        let config = HttpClientConfig {
            proxy: ProxyConfig::Url {
                url: format!("http://u:hunter2@{}", proxy.addr).parse().unwrap(),
                no_proxy: String::new(),
                connect_headers: Vec::new(),
            },
            ..HttpClientConfig::default()
        };
        let error = fetch(&client(&config), &format!("https://{AMP}/"))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), "proxy", "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn nobody_listening_and_unknown_names_are_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let client = client(&HttpClientConfig::default());
    let error = fetch(
        &client,
        &format!("http://user:hunter2@{addr}/x?token=hunter2"),
    )
    .await
    .unwrap_err();
    assert_eq!(error.kind(), "connect", "{error}");
    assert!(
        !format!("{error} {error:?}").contains("hunter2"),
        "{error:?}"
    );
    let error = fetch(&client, "http://no-such-host.invalid/")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), "dns", "{error}");
    for bad in ["ftp://x/", "http:///x", "/only/a/path"] {
        if let Ok(request) = Request::get(bad).body(Bytes::new()) {
            assert_eq!(
                client.send(request, SECONDS, 10).await.unwrap_err().kind(),
                "url",
                "{bad}"
            );
        }
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_refusals_are_cut_not_lost() {
    let big = || async { vec![b'x'; 100_000] };
    let refusal = || async { (StatusCode::FORBIDDEN, vec![b'x'; 100_000]) };
    let endless = || async {
        let chunks = futures_util::stream::repeat_with(|| {
            Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024]))
        });
        Body::from_stream(chunks)
    };
    let bomb = || async {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 16 << 20]).unwrap();
        (
            [(header::CONTENT_ENCODING, "gzip")],
            encoder.finish().unwrap(),
        )
    };
    let routes = Router::new()
        .route("/big", get(big))
        .route("/no", get(refusal))
        .route("/endless", get(endless))
        .route("/bomb", get(bomb));
    let server = http(routes).await;
    let url = |path: &str| format!("http://{}{path}", server.addr);
    let client = client(&HttpClientConfig::default());
    for path in ["/big", "/endless", "/bomb"] {
        let error = client
            .send(get_request(&url(path)), SECONDS, 50_000)
            .await
            .unwrap_err();
        assert!(
            matches!(error, NetError::BodyTooLarge { limit: 50_000, .. }),
            "{path}: {error}"
        );
        let mut buf = Vec::new();
        let error = client
            .send_into(get_request(&url(path)), SECONDS, 50_000, &mut buf)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), "body_too_large", "{path}");
        assert!(buf.capacity() < 1 << 20, "{path}");
    }
    let reply = client
        .send(get_request(&url("/no")), SECONDS, 50)
        .await
        .unwrap();
    assert_eq!(
        (reply.status, reply.body.len(), reply.truncated),
        (StatusCode::FORBIDDEN, 50, true)
    );
}

#[tokio::test]
async fn compressed_answers_arrive_plain_and_the_buffer_is_reused() {
    let zipped = |headers: HeaderMap| async move {
        use std::io::Write;
        assert!(
            headers[header::ACCEPT_ENCODING]
                .to_str()
                .unwrap()
                .contains("gzip")
        );
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all("up 1\n".repeat(2000).as_bytes()).unwrap();
        (
            [(header::CONTENT_ENCODING, "gzip")],
            encoder.finish().unwrap(),
        )
    };
    let server = http(Router::new().route("/", get(zipped))).await;
    let url = format!("http://{}/", server.addr);
    let client = client(&HttpClientConfig::default());
    let reply = fetch(&client, &url).await.unwrap();
    assert_eq!(reply.body, "up 1\n".repeat(2000));
    assert!(!reply.headers.contains_key(header::CONTENT_ENCODING));
    let mut buf = Vec::new();
    let mut first = None;
    for _ in 0..3 {
        let head = client
            .send_into(get_request(&url), SECONDS, 1 << 20, &mut buf)
            .await
            .unwrap();
        assert_eq!(buf, "up 1\n".repeat(2000).as_bytes());
        assert!(head.wire_bytes < 1000);
        assert_eq!(
            *first.get_or_insert(buf.as_ptr()),
            buf.as_ptr(),
            "no new buffer"
        );
    }
}

#[tokio::test]
async fn a_slow_far_end_ends_at_the_timeout() {
    let never = || async { std::future::pending::<()>().await };
    let half = || async {
        Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>())
    };
    let server = http(
        Router::new()
            .route("/never", get(never))
            .route("/half", get(half)),
    )
    .await;
    let client = client(&HttpClientConfig::default());
    for (path, phase) in [("/never", "connecting"), ("/half", "reading")] {
        let request = get_request(&format!("http://{}{path}", server.addr));
        let error = client
            .send(request, Duration::from_millis(300), 100)
            .await
            .unwrap_err();
        assert!(
            error.is_timeout() && error.to_string().contains(phase),
            "{error}"
        );
    }
}

#[tokio::test]
async fn redirects_are_followed_only_when_allowed_and_never_carry_a_signature_or_secret_away() {
    let other = http(Router::new().route("/end", any(echo))).await;
    let there = format!("http://{}/end", other.addr);
    let routes = Router::new()
        .route(
            "/away",
            any(move || async move { Redirect::temporary(&there) }),
        )
        .route("/near", any(|| async { Redirect::temporary("/end?x=1") }))
        .route("/see", post(|| async { Redirect::to("/method") }))
        .route(
            "/method",
            any(|request: AxumRequest| async move { request.method().to_string() }),
        )
        .route("/loop", any(|| async { Redirect::temporary("/loop") }))
        .route("/end", any(echo));
    let server = http(routes).await;
    let url = |path: &str| format!("http://{}{path}", server.addr);
    let config = HttpClientConfig {
        auth: Some(HttpAuth::Header {
            kind: "Bearer".to_owned(),
            credentials: inline("tok"),
        }),
        headers: vec![("X-Scope-OrgID".to_owned(), inline("tenant"))],
        ..HttpClientConfig::default()
    };
    let following = client(&config);
    let text = |reply: Reply| String::from_utf8(reply.body.to_vec()).unwrap();
    let near = text(fetch(&following, &url("/near")).await.unwrap());
    assert!(
        near.contains("authorization: Bearer tok") && near.contains("x-scope-orgid: tenant"),
        "{near}"
    );
    let away = text(fetch(&following, &url("/away")).await.unwrap());
    assert!(!away.contains("tok") && !away.contains("tenant"), "{away}");
    let see = Request::post(url("/see"))
        .body(Bytes::from_static(b"x"))
        .unwrap();
    assert_eq!(
        text(following.send(see, SECONDS, 100).await.unwrap()),
        "GET"
    );
    assert_eq!(
        fetch(&following, &url("/loop")).await.unwrap_err().kind(),
        "redirect"
    );

    let staying = client(&HttpClientConfig {
        follow_redirects: false,
        ..config
    });
    assert_eq!(
        fetch(&staying, &url("/near")).await.unwrap().status,
        StatusCode::TEMPORARY_REDIRECT
    );
    let signed = Request::get(url("/near"))
        .header("authorization", "AWS4-HMAC-SHA256 x")
        .body(Bytes::new())
        .unwrap();
    assert_eq!(
        following.send(signed, SECONDS, 100).await.unwrap().status,
        StatusCode::TEMPORARY_REDIRECT
    );
}

#[tokio::test]
async fn file_secrets_are_read_at_each_request_and_their_absence_names_the_file() {
    let server = http(Router::new().route("/", get(echo))).await;
    let url = format!("http://{}/", server.addr);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "one\n").unwrap();
    let auth = HttpAuth::Basic {
        username: inline("u"),
        password: Some(SecretSource::File(file.clone())),
    };
    let client = client(&HttpClientConfig {
        auth: Some(auth),
        ..HttpClientConfig::default()
    });
    let seen = |reply: Reply| String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(seen(fetch(&client, &url).await.unwrap()).contains("authorization: Basic dTpvbmU="));
    std::fs::write(&file, "two").unwrap();
    assert!(seen(fetch(&client, &url).await.unwrap()).contains("authorization: Basic dTp0d28="));
    std::fs::remove_file(&file).unwrap();
    let error = fetch(&client, &url).await.unwrap_err();
    assert!(error.to_string().contains("password"), "{error}");
    // A user name in the URL is basic authentication too.
    let plain = self::client(&HttpClientConfig::default());
    let reply = fetch(&plain, &format!("http://u:o%6ee@{}/", server.addr))
        .await
        .unwrap();
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
            let form: BTreeMap<String, String> = url::form_urlencoded::parse(body.as_bytes())
                .into_owned()
                .collect();
            if form.get("client_secret").map(String::as_str) != Some("s&cret") {
                return (
                    StatusCode::UNAUTHORIZED,
                    r#"{"error":"invalid_client"}"#.to_owned(),
                )
                    .into_response();
            }
            assert_eq!(
                (
                    form["grant_type"].as_str(),
                    form["scope"].as_str(),
                    form["audience"].as_str()
                ),
                ("client_credentials", "a b", "x")
            );
            let n = count.fetch_add(1, Ordering::SeqCst) + 1;
            format!(r#"{{"access_token":"t{n}","token_type":"bearer","expires_in":"3600"}}"#)
                .into_response()
        }
    };
    let guarded = |headers: HeaderMap| async move {
        let ok = headers
            .get("authorization")
            .is_some_and(|v| v == "Bearer t2");
        let status = if ok {
            StatusCode::OK
        } else {
            StatusCode::UNAUTHORIZED
        };
        Response::builder()
            .status(status)
            .body(Body::empty())
            .unwrap()
    };
    let server = http(
        Router::new()
            .route("/token", post(token))
            .route("/guarded", get(guarded)),
    )
    .await;
    let oauth2 = OAuth2Config {
        client_id: "me".to_owned(),
        client_secret: inline("s&cret"),
        scopes: vec!["a".to_owned(), "b".to_owned()],
        token_url: format!("http://{}/token", server.addr).parse().unwrap(),
        endpoint_params: BTreeMap::from([("audience".to_owned(), "x".to_owned())]),
        tls: TlsConfig::default(),
        proxy: ProxyConfig::None,
    };
    let config = |oauth2| HttpClientConfig {
        auth: Some(HttpAuth::OAuth2(Box::new(oauth2))),
        ..HttpClientConfig::default()
    };
    let right = client(&config(oauth2.clone()));
    let url = format!("http://{}/guarded", server.addr);
    for _ in 0..3 {
        assert_eq!(fetch(&right, &url).await.unwrap().status, StatusCode::OK);
    }
    assert_eq!(
        asked.load(Ordering::SeqCst),
        2,
        "t1 was refused, t2 was kept"
    );

    let wrong = client(&config(OAuth2Config {
        client_secret: inline("hunter2"),
        ..oauth2
    }));
    let error = fetch(&wrong, &url).await.unwrap_err();
    assert!(
        matches!(&error, NetError::Token { detail, .. } if detail.contains("invalid_client")),
        "{error}"
    );
    assert!(!error.to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_connection_that_sends_no_request_is_closed_and_the_server_drains_on_shutdown() {
    use tokio::io::AsyncReadExt;
    let options = net::server::ServerOptions {
        header_read_timeout: Duration::from_millis(100),
        connection_limit: 2,
        ..Default::default()
    };
    let server = start(hello(), options).await;
    // Both places are taken by clients that say nothing; the third gets its turn once they are thrown out.
    let mut idle = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    let _second = tokio::net::TcpStream::connect(server.addr).await.unwrap();
    assert_eq!(
        fetch(
            &client(&HttpClientConfig::default()),
            &format!("http://{}/", server.addr)
        )
        .await
        .unwrap()
        .body,
        "hello"
    );
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let (entered, began) = tokio::sync::oneshot::channel::<()>();
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    let once = Arc::new(std::sync::Mutex::new(Some((entered, finished))));
    let slow = move || async move {
        let taken = once.lock().unwrap().take();
        if let Some((entered, finished)) = taken {
            entered.send(()).unwrap();
            finished.await.unwrap();
        }
        "done"
    };
    let serving = tokio::spawn(net::server::serve(
        listener,
        Router::new().route("/", get(slow)),
        Default::default(),
        stop.clone(),
    ));
    let request = tokio::spawn(async move {
        fetch(
            &client(&HttpClientConfig::default()),
            &format!("http://{addr}/"),
        )
        .await
    });
    began.await.unwrap();
    stop.cancel();
    finish.send(()).unwrap();
    assert_eq!(request.await.unwrap().unwrap().body, "done");
    serving.await.unwrap().unwrap();
    assert!(
        tokio::net::TcpStream::connect(addr).await.is_err(),
        "nothing listens any more"
    );
}
