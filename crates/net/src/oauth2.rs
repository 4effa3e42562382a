//! Bearer tokens by the client credentials grant (RFC 6749 section 4.4), kept until they expire or are refused.
//!
//! Keeps true: one request for a token at a time; a token, a secret and the endpoint's query never reach a message.

use std::time::{Duration, Instant};

use base64::Engine;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use parking_lot::Mutex;
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::{Client, ClientOptions, HttpClientConfig, NetError, OAuth2Config, Secret, error::place};

/// A token endpoint answers in kilobytes.
const TOKEN_ANSWER_LIMIT: u64 = 1 << 20;
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// Tokens are renewed this long before they expire, as Go's oauth2 does.
const EARLY: Duration = Duration::from_secs(10);

/// One token endpoint with its current token.
#[derive(Debug)]
pub(crate) struct TokenSource {
    config: OAuth2Config,
    client: Client,
    current: Mutex<Option<Token>>,
    asking: tokio::sync::Mutex<Style>,
}

#[derive(Debug, Clone)]
struct Token {
    header: HeaderValue,
    expires: Option<Instant>,
}

/// Servers differ in where they look for the client's secret; the standard's own way is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Unknown,
    BasicHeader,
    Form,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct TokenRefusal {
    error: String,
    #[serde(default)]
    error_description: Option<String>,
}

impl TokenSource {
    pub(crate) fn new(config: &OAuth2Config, options: &ClientOptions) -> Result<Self, NetError> {
        let http =
            HttpClientConfig { tls: config.tls.clone(), proxy: config.proxy.clone(), ..HttpClientConfig::default() };
        let client = Client::new(&http, options.clone())?;
        Ok(Self {
            config: config.clone(),
            client,
            current: Mutex::new(None),
            asking: tokio::sync::Mutex::new(Style::Unknown),
        })
    }

    /// The `Authorization` header to send now.
    pub(crate) async fn header(&self) -> Result<HeaderValue, NetError> {
        if let Some(header) = self.fresh() {
            return Ok(header);
        }
        let mut style = self.asking.lock().await;
        if let Some(header) = self.fresh() {
            return Ok(header);
        }
        let token = self.ask(&mut style).await?;
        let header = token.header.clone();
        *self.current.lock() = Some(token);
        Ok(header)
    }

    /// Drops the token if it is still the refused one, so that the next `header` asks for another.
    pub(crate) fn refused(&self, header: &HeaderValue) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|t| t.header == *header) {
            *current = None;
        }
    }

    fn fresh(&self) -> Option<HeaderValue> {
        let current = self.current.lock();
        let token = current.as_ref()?;
        token.expires.is_none_or(|at| Instant::now() + EARLY < at).then(|| token.header.clone())
    }

    async fn ask(&self, style: &mut Style) -> Result<Token, NetError> {
        let order: &[Style] = match *style {
            Style::Unknown => &[Style::BasicHeader, Style::Form],
            Style::BasicHeader => &[Style::BasicHeader],
            Style::Form => &[Style::Form],
        };
        let secret = self
            .config
            .client_secret
            .load()
            .await
            .map_err(|source| NetError::File { what: source.to_string(), source })?;
        let mut refusal = None;
        for &way in order {
            let request = self.request(way, &secret)?;
            // Under its own name: as it is, the destination would be blamed for it.
            let reply =
                Box::pin(self.client.send(request, self.config.timeout.unwrap_or(TOKEN_TIMEOUT), TOKEN_ANSWER_LIMIT))
                    .await
                    .map_err(|error| self.error(error.to_string()))?;
            if reply.status.is_success() {
                *style = way;
                return self.read(&reply.body);
            }
            // Only these two say that the client was not recognised.
            let maybe_style = matches!(reply.status, StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED);
            refusal = Some(self.refusal(reply.status, &reply.body));
            if !maybe_style {
                break;
            }
        }
        Err(refusal.unwrap_or_else(|| self.error("it was not asked".to_owned())))
    }

    fn request(&self, way: Style, secret: &Secret) -> Result<Request<Bytes>, NetError> {
        let config = &self.config;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !config.scopes.is_empty() {
            form.append_pair("scope", &config.scopes.join(" "));
        }
        for (name, value) in
            config.endpoint_params.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one)))
        {
            form.append_pair(name, value);
        }
        if way == Style::Form {
            form.append_pair("client_id", &config.client_id).append_pair("client_secret", secret.expose());
        }
        let mut builder = Request::builder()
            .method(Method::POST)
            .uri(config.token_url.as_str())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        if way == Style::BasicHeader {
            // RFC 6749 section 2.3.1: both halves are form-encoded before they are joined.
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encode(&config.client_id), encode(secret.expose()));
            let value = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
            builder = builder.header(header::AUTHORIZATION, value);
        }
        builder
            .body(Bytes::from(form.finish()))
            .map_err(|e| NetError::Url { url: crate::error::masked(&config.token_url), why: e.to_string() })
    }

    fn read(&self, body: &[u8]) -> Result<Token, NetError> {
        let answer: TokenAnswer = serde_json::from_slice(body)
            .map_err(|_| self.error("its answer is not the JSON of RFC 6749 with an access_token".to_owned()))?;
        let lifetime = match &answer.expires_in {
            Some(serde_json::Value::Number(n)) => n.as_f64(),
            // Some servers quote the number.
            Some(serde_json::Value::String(s)) => s.parse().ok(),
            _ => None,
        };
        let lifetime = lifetime.filter(|s| *s > 0.0).and_then(|s| Duration::try_from_secs_f64(s).ok());
        let kind = match answer.token_type.as_deref() {
            Some(kind) if !kind.is_empty() && !kind.eq_ignore_ascii_case("bearer") => kind.to_owned(),
            _ => "Bearer".to_owned(),
        };
        let mut header = HeaderValue::from_str(&format!("{kind} {}", answer.access_token))
            .map_err(|_| self.error("its access_token has characters that cannot be sent".to_owned()))?;
        header.set_sensitive(true);
        Ok(Token { header, expires: lifetime.and_then(|l| Instant::now().checked_add(l)) })
    }

    fn refusal(&self, status: StatusCode, body: &[u8]) -> NetError {
        let said = match serde_json::from_slice::<TokenRefusal>(body) {
            Ok(TokenRefusal { error, error_description: Some(more) }) => format!(": {error} ({more})"),
            Ok(TokenRefusal { error, .. }) => format!(": {error}"),
            Err(_) => String::new(),
        };
        let said: String = said.chars().take(300).collect();
        self.error(format!("it answered {status}{said}; check client_id, client_secret, scopes and token_url"))
    }

    fn error(&self, detail: String) -> NetError {
        let url: &Url = &self.config.token_url;
        NetError::Token { host: place(url), detail }
    }
}
