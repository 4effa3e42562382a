//! A service that answers by script, and identities for it.
#![allow(dead_code)]

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::Request;
use log_receive::CloudAccess;
use net::{Answer, Authorize, AuthorizeError, BoxFuture, Client, ClientOptions, HttpClientConfig, IdentityVerdict};
use serde_json::Value;
use tower::ServiceExt;

/// Signs with a word; believes every refusal to be about something else.
#[derive(Debug)]
pub struct Word;

impl Authorize for Word {
    fn authorize<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), AuthorizeError>> {
        request.headers_mut().insert("x-signed", http::HeaderValue::from_static("yes"));
        Box::pin(async { Ok(()) })
    }

    fn judge(&self, _: &Answer<'_>) -> IdentityVerdict {
        IdentityVerdict::Unrelated
    }

    fn describe(&self) -> String {
        "a word".to_owned()
    }
}

pub fn client() -> Client {
    net::install_crypto_provider();
    Client::new(&HttpClientConfig::default(), ClientOptions::default()).unwrap()
}

pub fn access() -> CloudAccess {
    CloudAccess { client: client(), authorize: Arc::new(Word), timeout: Duration::from_secs(10) }
}

/// What was asked: the target header's last part and the body.
pub type Asked = (String, Value);
type Shared = (Arc<Mutex<Vec<Asked>>>, Arc<Script>);
type Script = dyn Fn(&str, &Value, &HeaderMap) -> Response + Send + Sync;

#[derive(Clone)]
pub struct Fake {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// `script` gets the operation (or the path) and the body.
    pub async fn start(script: impl Fn(&str, &Value, &HeaderMap) -> Response + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let script: Arc<Script> = Arc::new(script);
        let router = Router::new().fallback(answer).with_state((Arc::clone(&asked), script));
        let service = tower::service_fn(move |request: Request<hyper::body::Incoming>| {
            router.clone().oneshot(request.map(Body::new))
        });
        tokio::spawn(net::server::serve(listener, service, Default::default(), Default::default()));
        Self { address, asked }
    }

    pub fn url(&self) -> url::Url {
        format!("http://{}/", self.address).parse().unwrap()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub fn asked_for(&self, operation: &str) -> Vec<Value> {
        self.asked().into_iter().filter(|(name, _)| name == operation).map(|(_, body)| body).collect()
    }
}

async fn answer(State((asked, script)): State<Shared>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if headers.get("x-signed").is_none() {
        return (StatusCode::FORBIDDEN, "{\"__type\":\"MissingAuthenticationToken\"}").into_response();
    }
    let target = headers.get("x-amz-target").map(|v| v.to_str().unwrap().to_owned());
    let name = target.map_or_else(|| uri.to_string(), |t| t.rsplit('.').next().unwrap_or_default().to_owned());
    let value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let answer = script(&name, &value, &headers);
    asked.lock().unwrap().push((name, value));
    answer
}

pub fn json(value: &Value) -> Response {
    ([("content-type", "application/x-amz-json-1.1")], value.to_string()).into_response()
}

pub fn error(status: u16, code: &str) -> Response {
    let body = serde_json::json!({"__type": code, "message": "as scripted"}).to_string();
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}
