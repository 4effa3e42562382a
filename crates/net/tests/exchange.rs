//! Bounds of one exchange: size, time, compression, and errors that tell causes apart.

mod support;

use axum::Router;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use http::Request;
use net::HttpClientConfig;
use net::NetError;
use std::time::Duration;
use support::*;

#[tokio::test]
async fn nobody_listening_and_unknown_names_are_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let client = client(&HttpClientConfig::default());
    let error = fetch(&client, &format!("http://user:hunter2@{addr}/x?token=hunter2")).await.unwrap_err();
    assert_eq!(error.kind(), "connect", "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    let error = fetch(&client, "http://no-such-host.invalid/").await.unwrap_err();
    assert_eq!(error.kind(), "dns", "{error}");
    for bad in ["ftp://x/", "http:///x", "/only/a/path"] {
        if let Ok(request) = Request::get(bad).body(Bytes::new()) {
            assert_eq!(client.send(request, SECONDS, 10).await.unwrap_err().kind(), "url", "{bad}");
        }
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_refusals_are_cut_not_lost() {
    let big = || async { vec![b'x'; 100_000] };
    let refusal = || async { (StatusCode::FORBIDDEN, vec![b'x'; 100_000]) };
    let endless = || async {
        let chunks = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 1024])));
        Body::from_stream(chunks)
    };
    let bomb = || async {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(&vec![0; 16 << 20]).unwrap();
        ([(header::CONTENT_ENCODING, "gzip")], encoder.finish().unwrap())
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
        let error = client.send(get_request(&url(path)), SECONDS, 50_000).await.unwrap_err();
        assert!(matches!(error, NetError::BodyTooLarge { limit: 50_000, .. }), "{path}: {error}");
        let mut buf = Vec::new();
        let error = standing(&client, &url(path)).send_into(SECONDS, 50_000, &mut buf).await.unwrap_err();
        assert_eq!(error.kind(), "body_too_large", "{path}");
        assert!(buf.capacity() < 1 << 20, "{path}");
    }
    let reply = client.send(get_request(&url("/no")), SECONDS, 50).await.unwrap();
    assert_eq!((reply.status, reply.body.len(), reply.truncated), (StatusCode::FORBIDDEN, 50, true));
}

#[tokio::test]
async fn compressed_answers_arrive_plain_and_the_buffer_is_reused() {
    let zipped = |headers: HeaderMap| async move {
        use std::io::Write;
        assert!(headers[header::ACCEPT_ENCODING].to_str().unwrap().contains("gzip"));
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all("up 1\n".repeat(2000).as_bytes()).unwrap();
        ([(header::CONTENT_ENCODING, "gzip")], encoder.finish().unwrap())
    };
    let server = http(Router::new().route("/", get(zipped))).await;
    let url = format!("http://{}/", server.addr);
    let client = client(&HttpClientConfig::default());
    let reply = fetch(&client, &url).await.unwrap();
    assert_eq!(reply.body, "up 1\n".repeat(2000));
    assert!(!reply.headers.contains_key(header::CONTENT_ENCODING));
    let mut buf = Vec::new();
    let mut first = None;
    let mut request = standing(&client, &url);
    for _ in 0..3 {
        let head = request.send_into(SECONDS, 1 << 20, &mut buf).await.unwrap();
        assert_eq!(buf, "up 1\n".repeat(2000).as_bytes());
        assert!(head.wire_bytes < 1000);
        assert_eq!(*first.get_or_insert(buf.as_ptr()), buf.as_ptr(), "no new buffer");
    }
}

#[tokio::test]
async fn a_slow_far_end_ends_at_the_timeout() {
    let never = || async { std::future::pending::<()>().await };
    let half = || async { Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>()) };
    let server = http(Router::new().route("/never", get(never)).route("/half", get(half))).await;
    let client = client(&HttpClientConfig::default());
    for (path, phase) in [("/never", "connecting"), ("/half", "reading")] {
        let request = get_request(&format!("http://{}{path}", server.addr));
        let error = client.send(request, Duration::from_millis(300), 100).await.unwrap_err();
        assert!(error.is_timeout() && error.to_string().contains(phase), "{error}");
    }
}
