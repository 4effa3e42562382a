//! The accept loop: silence, limits and drain.

mod support;

use axum::Router;
use axum::routing::get;
use net::HttpClientConfig;
use std::sync::Arc;
use std::time::Duration;
use support::*;

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
        fetch(&client(&HttpClientConfig::default()), &format!("http://{}/", server.addr)).await.unwrap().body,
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
    let request =
        tokio::spawn(async move { fetch(&client(&HttpClientConfig::default()), &format!("http://{addr}/")).await });
    began.await.unwrap();
    stop.cancel();
    finish.send(()).unwrap();
    assert_eq!(request.await.unwrap().unwrap().body, "done");
    serving.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "nothing listens any more");
}
