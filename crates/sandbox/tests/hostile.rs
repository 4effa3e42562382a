//! Clients that mean harm or are broken: everything stays bounded, nobody else is disturbed.

mod support;

use std::time::Duration;

use sandbox::{Limits, Running, SandboxConfig};
use support::{PATIENCE, Signer, client, remote_write, send, start};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn connect(running: &Running) -> TcpStream {
    TcpStream::connect(running.address()).await.unwrap()
}

/// Sends `text` and reads until the sandbox closes the connection or has answered a whole head.
async fn raw(running: &Running, text: &str) -> String {
    let mut stream = connect(running).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    read_head(&mut stream).await
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let mut chunk = [0u8; 4096];
    while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
        match tokio::time::timeout(PATIENCE, stream.read(&mut chunk)).await.expect("an answer or an end in time") {
            Ok(0) | Err(_) => break,
            Ok(read) => seen.extend_from_slice(&chunk[..read]),
        }
    }
    String::from_utf8_lossy(&seen).into_owned()
}

async fn is_well(running: &Running) {
    let mut request = remote_write(&running.remote_write_url("ws"), "up", &[(1, 1.0)]);
    Signer::new("aps").sign(&mut request);
    assert_eq!(send(&client(), request).await.unwrap().status, 200);
}

fn impatient() -> SandboxConfig {
    let limits = Limits {
        body: 64 * 1024,
        header_read_timeout: Duration::from_millis(200),
        body_read_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    SandboxConfig { limits, ..SandboxConfig::default() }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_read() {
    let running = start(impatient()).await;
    let answer = raw(&running, "POST /api/v1/write HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    is_well(&running).await;
}

#[tokio::test]
async fn a_chunked_body_is_cut_at_the_limit() {
    let running = start(impatient()).await;
    let mut stream = connect(&running).await;
    stream.write_all(b"POST /api/v1/write HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = [b"4000\r\n".to_vec(), vec![b'x'; 0x4000], b"\r\n".to_vec()].concat();
    let (mut reader, mut writer) = stream.split();
    let write = async {
        for _ in 0..5 {
            if writer.write_all(&chunk).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let read = async {
        let mut head = [0u8; 12];
        reader.read_exact(&mut head).await.unwrap();
        head
    };
    let head = tokio::select! { head = read => head, () = write => unreachable!() };
    assert_eq!(&head, b"HTTP/1.1 413");
    is_well(&running).await;
}

#[tokio::test]
async fn slow_heads_and_slow_bodies_are_given_up() {
    let running = start(impatient()).await;
    let head = raw(&running, "POST /api/v1/wri").await;
    assert!(head.is_empty() || head.starts_with("HTTP/1.1 408"), "{head}");
    let body = raw(&running, "POST /api/v1/write HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await;
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    let state = running.state();
    assert_eq!((state.unserved, state.samples.samples), (1, 0));
    is_well(&running).await;
}

#[tokio::test]
async fn bodies_wait_for_room_and_then_are_told_to_come_back() {
    let config = impatient();
    let limits = Limits { bodies_in_flight: 64 * 1024, ..config.limits.clone() };
    let running = start(SandboxConfig { limits, ..config }).await;
    let mut greedy = connect(&running).await;
    greedy.write_all(b"POST /api/v1/write HTTP/1.1\r\nhost: x\r\ncontent-length: 65536\r\n\r\nabc").await.unwrap();
    let second = raw(&running, "POST /api/v1/write HTTP/1.1\r\nhost: x\r\ncontent-length: 65536\r\n\r\nabc").await;
    assert!(second.starts_with("HTTP/1.1 408"), "{second}");
    assert!(read_head(&mut greedy).await.starts_with("HTTP/1.1 408"));
    is_well(&running).await;
}

#[tokio::test]
async fn heads_without_end_are_refused() {
    let running = start(impatient()).await;
    let answer = raw(&running, &format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(200_000))).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    is_well(&running).await;
}

#[tokio::test]
async fn what_is_not_http_is_closed() {
    let running = start(impatient()).await;
    for text in [
        "\0\0\0\0\0\0\0\0\r\n\r\n",
        "\u{16}\u{3}\u{1}\r\n\r\n",
        "GET\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxx",
    ] {
        let answer = raw(&running, text).await;
        assert!(!answer.starts_with("HTTP/1.1 2"), "{text:?}: {answer}");
    }
    is_well(&running).await;
}

#[tokio::test]
async fn odd_addresses_are_answered_not_feared() {
    let running = start(impatient()).await;
    for line in [
        "GET /%00%ff%zz?%=&&=&a HTTP/1.1",
        "DELETE //..//../%2e%2e HTTP/1.1",
        "PUT / HTTP/1.1",
        "PUT /b HTTP/1.1",
        "POST /workspaces//api/v1/remote_write HTTP/1.1",
        "POST /workspaces/../../../etc/api/v1/remote_write HTTP/1.1",
        "GET http://aps-workspaces.us-east-1.amazonaws.com/workspaces HTTP/1.1",
        "OPTIONS * HTTP/1.1",
    ] {
        for host in ["", "x", "sts.amazonaws.com", "..s3.amazonaws.com", "[::1", ":::::"] {
            let answer = raw(&running, &format!("{line}\r\nhost: {host}\r\ncontent-length: 0\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{line} at {host:?}: {answer}");
        }
    }
    is_well(&running).await;
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let config = impatient();
    let limits = Limits { connections: 2, ..config.limits.clone() };
    let running = start(SandboxConfig { limits, ..config }).await;
    let idle = [connect(&running).await, connect(&running).await];
    // Served as soon as the head timeout frees a place.
    tokio::time::timeout(PATIENCE, is_well(&running)).await.unwrap();
    drop(idle);
}

#[tokio::test]
async fn label_values_that_look_like_markup_stay_text() {
    let evil = "<script>alert(1)</script>";
    // A name that is answered, so that the page is made with it.
    let running = start(SandboxConfig { names: vec![evil.to_owned()], ..impatient() }).await;
    let mut request = remote_write(&running.remote_write_url("ws"), evil, &[(1, 1.0)]);
    Signer::new("aps").sign(&mut request);
    assert_eq!(send(&client(), request).await.unwrap().status, 200);
    let page = http::Request::get(running.url()).header("host", evil.replace(' ', "")).body(Vec::new()).unwrap();
    let page = send(&client(), page).await.unwrap();
    assert_eq!(page.status, 200);
    assert!(!page.body.contains(evil));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
}

#[tokio::test]
async fn no_bytes_break_a_service_that_reads_before_it_believes() {
    let running = start(SandboxConfig::default()).await;
    let client = client();
    let bodies: [Vec<u8>; 6] = [
        Vec::new(),
        b"\xff\xfe\x00".to_vec(),
        b"{".to_vec(),
        b"[".repeat(100_000),
        b"a=b&".repeat(50_000),
        format!(
            "Action=AssumeRoleWithWebIdentity&RoleArn=a&RoleSessionName=aa&WebIdentityToken={}",
            "a.b.".repeat(9000)
        )
        .into(),
    ];
    for path in [
        "/",
        "/sessions",
        "/latest/api/token",
        "/v1/auth/approle/login",
        "/v1/auth/aws/login",
        "/v1/credentials",
        "/plain/v1/logs",
        "/plain/v1/metrics",
        "/loki/api/v1/push",
        "/TraceSegments",
    ] {
        for body in &bodies {
            for content_type in ["application/json", "application/x-protobuf"] {
                let request = http::Request::post(format!("{}{path}", running.url()))
                    .header("content-type", content_type)
                    .header("content-encoding", "gzip")
                    .header("x-amz-x509", "////")
                    .header("authorization", "AWS4-X509-RSA-SHA256 Credential=1/2/3/4/5, SignedHeaders=a, Signature=00")
                    .body(body.clone())
                    .unwrap();
                let status = send(&client, request).await.unwrap().status;
                assert!((200..500).contains(&status), "{path} {content_type}: {status}");
            }
        }
    }
    let bomb = {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        std::io::Write::write_all(&mut gzip, &vec![0u8; 70 << 20]).unwrap();
        gzip.finish().unwrap()
    };
    let request = http::Request::post(format!("{}/plain/v1/logs", running.url()))
        .header("content-type", "application/x-protobuf")
        .header("content-encoding", "gzip")
        .body(bomb)
        .unwrap();
    assert_eq!(send(&client, request).await.unwrap().status, 413);
    let request = http::Request::post(format!("{}/", running.url())).body(vec![b'a'; 300 * 1024]).unwrap();
    assert_eq!(send(&client, request).await.unwrap().status, 413);
    is_well(&running).await;
}

#[tokio::test]
async fn pages_of_other_sites_get_no_credentials_and_give_no_orders_whatever_their_name_points_to() {
    let names = vec!["sandbox.test".to_owned()];
    let running = start(SandboxConfig { names, ..SandboxConfig::default() }).await;
    let port = running.address().port();
    let asked = async |method: &str, path: &str, host: &str, more: &str| {
        let text =
            format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\n{more}connection: close\r\n\r\n");
        let answer = raw(&running, &text).await;
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    // A name of the page's own that was made to point here: for the browser the two are one site.
    for host in
        ["evil.example".to_owned(), format!("evil.example:{port}"), "localhost.evil.example".to_owned(), String::new()]
    {
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/_sandbox/state"),
            ("POST", "/_sandbox/token"),
            ("PUT", "/latest/api/token"),
            ("GET", "/v1/credentials"),
            ("GET", "/v2/credentials/id"),
        ] {
            assert_eq!(asked(method, path, &host, "").await, "421", "{method} {path} by {host:?}");
        }
    }
    for host in ["127.0.0.1", "localhost", "LOCALHOST.", "bucket.localhost", "[::1]", "sandbox.test", "169.254.169.254"]
    {
        assert_eq!(asked("GET", "/_sandbox/state", &format!("{host}:{port}"), "").await, "200", "{host}");
        assert_ne!(asked("PUT", "/latest/api/token", host, "").await, "421", "{host}");
    }
    // A page that calls the sandbox by its right name is told apart by its origin.
    let foreign = "origin: http://evil.example\r\n";
    assert_eq!(asked("POST", "/_sandbox/reset", "localhost", foreign).await, "403");
    assert_eq!(asked("POST", "/_sandbox/reset", "localhost", "origin: http://localhost\r\n").await, "200");
    is_well(&running).await;
}
