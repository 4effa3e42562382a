//! A look at the instance metadata service, to tell a hop limit from its absence.
//!
//! Reads no credentials. Keeps true: at most three small requests, each within its own time; no proxy is ever used.

use std::time::Duration;

use aws::IdentityConfig;
use bytes::Bytes;
use http::{Request, StatusCode};
use net::{Client, ClientOptions, HttpClientConfig, ProxyConfig};
use url::Url;

use super::{cause::Finding, causes::cause};

const PATIENCE: Duration = Duration::from_secs(2);
const ANSWER_LIMIT: u64 = 64 << 10;

/// What the service did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataSight {
    pub endpoint: String,
    pub state: MetadataState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetadataState {
    /// A token came, and a role has credentials.
    Works,
    /// A token came, and there is no role.
    NoRole,
    /// It answers other requests, and the token's answer does not come back.
    TokenLost,
    /// It answers, and refuses the token or the question for the role, with this status.
    Refused(u16),
    /// Nothing answers.
    Silent,
}

impl MetadataSight {
    pub fn finding(&self) -> Option<Finding> {
        let id = match self.state {
            MetadataState::Works => return None,
            MetadataState::NoRole => cause("imds_no_role"),
            MetadataState::TokenLost => cause("imds_hop_limit"),
            MetadataState::Refused(_) => cause("imds_refused"),
            MetadataState::Silent => cause("imds_unreachable"),
        };
        let finding = Finding::new(id, "").with("endpoint", self.endpoint.clone());
        Some(match self.state {
            MetadataState::Refused(status) => finding.with("status", format!("HTTP {status}")),
            _ => finding,
        })
    }
}

/// Looks at the metadata service if this identity may use it.
pub async fn look(config: &IdentityConfig) -> Option<MetadataSight> {
    let endpoint = aws::metadata_endpoint(&config.source).await?.ok()?;
    Some(look_at(&endpoint).await)
}

async fn look_at(endpoint: &Url) -> MetadataSight {
    let shown = net::masked(endpoint).trim_end_matches('/').to_owned();
    let state = ask(endpoint).await.unwrap_or(MetadataState::Silent);
    MetadataSight { endpoint: shown, state }
}

/// `None` when nothing answers.
async fn ask(endpoint: &Url) -> Option<MetadataState> {
    let direct = HttpClientConfig { proxy: ProxyConfig::None, follow_redirects: false, ..HttpClientConfig::default() };
    let client = Client::new(&direct, ClientOptions { connect_timeout: PATIENCE, ..ClientOptions::default() }).ok()?;
    let address = |path: &str| endpoint.join(path).map(|url| url.to_string()).ok();
    let send = |request: Request<Bytes>| client.send(request, PATIENCE, ANSWER_LIMIT);
    let token = Request::put(address("/latest/api/token")?)
        .header("x-aws-ec2-metadata-token-ttl-seconds", "60")
        .header("content-length", "0")
        .body(Bytes::new())
        .ok()?;
    // Any answer to a plain request says that the way there is open, 401 (version 2 only) most of all.
    let plain = Request::get(address("/latest/meta-data/")?).body(Bytes::new()).ok()?;
    let (token, plain) = tokio::join!(send(token), send(plain));
    let token = match (token, plain) {
        (Ok(answer), _) => answer,
        (Err(error), Ok(_)) if error.is_timeout() => return Some(MetadataState::TokenLost),
        (Err(_), _) => return None,
    };
    if !token.status.is_success() {
        return Some(MetadataState::Refused(token.status.as_u16()));
    }
    let mut value = http::HeaderValue::from_bytes(token.body.trim_ascii()).ok()?;
    value.set_sensitive(true);
    let role = Request::get(address("/latest/meta-data/iam/security-credentials/")?)
        .header("x-aws-ec2-metadata-token", value)
        .body(Bytes::new())
        .ok()?;
    match send(role).await {
        Ok(answer) if answer.status == StatusCode::NOT_FOUND => Some(MetadataState::NoRole),
        Ok(answer) if answer.status.is_success() && answer.body.trim_ascii().is_empty() => Some(MetadataState::NoRole),
        Ok(answer) if answer.status.is_success() => Some(MetadataState::Works),
        Ok(answer) => Some(MetadataState::Refused(answer.status.as_u16())),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        routing::{get, put},
    };

    use super::*;

    async fn serve(router: Router) -> Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let options = net::server::ServerOptions::default();
        tokio::spawn(net::server::serve(listener, router, options, Default::default()));
        url
    }

    #[tokio::test]
    async fn a_token_that_does_not_come_back_is_told_from_a_service_that_is_not_there() {
        net::install_crypto_provider();
        let plain = || get(|| async { StatusCode::UNAUTHORIZED });
        let lost = Router::new()
            .route("/latest/meta-data/", plain())
            .route("/latest/api/token", put(std::future::pending::<StatusCode>));
        assert_eq!(look_at(&serve(lost).await).await.state, MetadataState::TokenLost);

        let bare = Router::new().route("/latest/meta-data/", plain()).route("/latest/api/token", put(|| async { "t" }));
        assert_eq!(look_at(&serve(bare).await).await.state, MetadataState::NoRole);

        let whole = Router::new()
            .route("/latest/meta-data/", plain())
            .route("/latest/api/token", put(|| async { "t\n" }))
            .route("/latest/meta-data/iam/security-credentials/", get(|| async { "role" }));
        assert_eq!(look_at(&serve(whole).await).await.state, MetadataState::Works);

        let closed = Router::new()
            .route("/latest/meta-data/", get(|| async { StatusCode::FORBIDDEN }))
            .route("/latest/api/token", put(|| async { StatusCode::FORBIDDEN }));
        let seen = look_at(&serve(closed).await).await;
        assert_eq!(seen.state, MetadataState::Refused(403));
        let found = seen.finding().unwrap();
        assert_eq!((found.cause.id, found.facts["status"].as_str()), ("imds_refused", "HTTP 403"));

        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let nobody = Url::parse(&format!("http://{free}/")).unwrap();
        assert_eq!(look_at(&nobody).await.state, MetadataState::Silent);
    }
}
