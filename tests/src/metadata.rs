//! A metadata service that hands out tokens as EC2's does, and answers with any text at all.

use anyhow::Result;
use axum::{
    Router,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, put},
};

/// Its address. It names `roles` as the instance's roles, and answers `document` for each of them.
pub async fn serving(roles: &str, document: &str) -> Result<String> {
    let (roles, document) = (roles.to_owned(), document.to_owned());
    let router = Router::new()
        .route(
            "/latest/api/token",
            put(|| async { ([("x-aws-ec2-metadata-token-ttl-seconds", "21600")], "token").into_response() }),
        )
        .route("/latest/meta-data/", get(|| async { StatusCode::UNAUTHORIZED }))
        .route("/latest/meta-data/iam/security-credentials/", get(|| async move { roles }))
        .route("/latest/meta-data/iam/security-credentials/{*role}", get(|| async move { document }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(format!("http://{address}"))
}
