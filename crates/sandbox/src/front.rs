//! The way of one request through the sandbox: address, body, fault, signature, permission, service, books.
//!
//! Keeps true: every request is entered in the books exactly once; bodies are read within their limits of size, room
//! and time before anything looks at them.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::{
    answer::{ErrorStyle, Reply, ServiceError, refusal_error},
    arrivals::{About, End, Sender},
    clock::http_date,
    control,
    core::Core,
    fault::{Fault, Outcome, Stage},
    identity::Permission,
    refusal::Refusal,
    service::{self, Asked, Call, Caller, Done, Service},
    sigv4::{SignedRequest, sha256_hex, verify},
    target::Target,
};

/// A scripted end without an answer: the connection is to be closed.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer, as scripted")]
pub(crate) struct Closed;

/// A connection's view of the sandbox.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) core: Arc<Core>,
    pub(crate) stop: CancellationToken,
    /// Whether the connection is TLS (as S3 wants for unsigned payloads).
    pub(crate) is_tls: bool,
}

impl Front {
    /// Answers one request.
    pub(crate) async fn serve(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Closed> {
        let target = Target::of(&request);
        let (parts, body) = request.into_parts();
        let request_id = self.core.request_id();
        if target.is_own() {
            if is_foreign_page(&parts.headers, &target) {
                let text = "orders are not taken from pages of other sites\n";
                return Ok(self.finish(Reply::text(StatusCode::FORBIDDEN, text), ErrorStyle::Text, &request_id, 0));
            }
            if !self.core.is_own_name(target.host_name()) {
                return Ok(self.finish(stranger(), ErrorStyle::Text, &request_id, 0));
            }
            return Ok(self.finish(self.own(&target, body).await, ErrorStyle::Text, &request_id, 0));
        }
        let Some(service) = service::find(&target) else {
            let text = "nothing is played at this address; see / for what is\n";
            return Ok(self.finish(Reply::text(StatusCode::NOT_FOUND, text), ErrorStyle::Text, &request_id, 0));
        };
        if service.gives_to_neighbours() && !self.core.is_own_name(target.host_name()) {
            return Ok(self.finish(stranger(), ErrorStyle::Text, &request_id, 0));
        }
        let mut visit = Visit {
            sender: Sender {
                service: service.name().to_owned(),
                host: target.host.clone(),
                resource: service.resource(&target),
                region: String::new(),
                access_key_id: String::new(),
            }
            .cut(),
            service,
            style: service.style(),
            path: target.path.clone(),
            about: About::of(&parts.headers),
            request_id,
        };
        let body = match self.read(body, service.body_limit(&self.core.limits)).await {
            Ok(body) => body,
            Err(error) => {
                let reply = visit.error(&error);
                self.enter(&visit, End::Unserved { problem: error.message });
                return Ok(self.finish(reply, visit.style, &visit.request_id, 0));
            }
        };
        self.answer(&mut visit, target, parts.headers, body).await
    }

    async fn answer(
        &self,
        visit: &mut Visit,
        target: Target,
        headers: HeaderMap,
        body: ReadBody,
    ) -> Result<Response<Full<Bytes>>, Closed> {
        let signed = SignedRequest {
            method: target.method.as_str(),
            path: &target.path,
            query: &target.query,
            headers: &headers,
            host: &target.host,
            body_sha256: &sha256_hex(&body.bytes),
        };
        // Read before it is believed: faults and books go by what is claimed.
        if let Some((access_key_id, region)) = crate::sigv4::claimed_key(&signed) {
            visit.sender.access_key_id = access_key_id;
            visit.sender.region = region;
            visit.sender = std::mem::take(&mut visit.sender).cut();
        }
        let sender = &visit.sender;
        let fault = self.core.faults.lock().take(&sender.service, &sender.resource, &sender.access_key_id);
        let date_shift_ms = fault.as_ref().map_or(0, |fault| fault.date_shift_ms);
        if let Some(fault) = fault.as_ref().filter(|fault| fault.stage == Stage::Before)
            && let Some(reply) = self.strike(fault, visit, true).await?
        {
            return Ok(self.finish(reply, visit.style, &visit.request_id, date_shift_ms));
        }
        if let Err(error) = visit.service.admit(&target) {
            let reply = visit.error(&error);
            self.enter(visit, End::Unserved { problem: visit.problem(&error) });
            return Ok(self.finish(reply, visit.style, &visit.request_id, date_shift_ms));
        }
        let region = target.aws.as_ref().map(|aws| aws.region.clone()).or_else(|| self.core.region.clone());
        let asked = Asked { target: &target, body: &body.bytes, region, is_tls: self.is_tls };
        let caller = match self.identify(visit.service, &signed, &asked) {
            Ok(caller) => caller,
            Err(refusal) => {
                let reply = visit.error(&refusal_error(&refusal, visit.style, self.core.clock.now_ms()));
                tracing::debug!(service = visit.service.name(), reason = refusal.name(), "refused");
                self.enter(visit, End::Refused { refusal, path: visit.path.clone() });
                return Ok(self.finish(reply, visit.style, &visit.request_id, date_shift_ms));
            }
        };
        let call = Call {
            target,
            headers,
            body: body.bytes.clone(),
            caller,
            now_ms: self.core.clock.now_ms(),
            request_id: visit.request_id.clone(),
            partial: fault.as_ref().and_then(|fault| match &fault.outcome {
                Outcome::Partial(partial) => Some(partial.clone()),
                _ => None,
            }),
        };
        let reply = self.work(visit, call, body).await;
        if let Some(fault) = fault.as_ref().filter(|fault| fault.stage == Stage::After)
            && let Some(instead) = self.strike(fault, visit, false).await?
        {
            return Ok(self.finish(instead, visit.style, &visit.request_id, date_shift_ms));
        }
        Ok(self.finish(reply, visit.style, &visit.request_id, date_shift_ms))
    }

    /// Verifies the signature, if the service takes one.
    fn identify(
        &self,
        service: &dyn Service,
        signed: &SignedRequest<'_>,
        asked: &Asked<'_>,
    ) -> Result<Option<Caller>, Refusal> {
        let Some(policy) = service.policy(asked) else {
            return Ok(None);
        };
        let identities = self.core.identities.read();
        let now_ms = self.core.clock.now_ms();
        let (claim, identity) = verify(signed, &policy, now_ms, |id| identities.get(id))?;
        Ok(Some(Caller {
            access_key_id: claim.access_key_id,
            arn: identity.arn.clone(),
            account_id: identity.account_id.clone(),
            user_id: identity.user_id.clone(),
            region: claim.scope.region,
        }))
    }

    /// Permission, then the service, on a thread that may block; enters the outcome in the books.
    async fn work(&self, visit: &Visit, call: Call, body: ReadBody) -> Reply {
        let service = visit.service;
        if let (Some(caller), Some((action, resource))) = (&call.caller, service.action(&call)) {
            let permission = self.core.permission(&caller.access_key_id, &action);
            if permission != Permission::Granted {
                let is_denied = permission == Permission::Denied;
                let refusal = Refusal::NotAllowed { arn: caller.arn.clone(), action, resource, is_denied };
                let reply = visit.error(&refusal_error(&refusal, visit.style, call.now_ms));
                self.enter(visit, End::Refused { refusal, path: visit.path.clone() });
                return reply;
            }
        }
        let caller_arn = call.caller.as_ref().map(|caller| caller.arn.clone());
        let bytes = call.body.len() as u64;
        let core = Arc::clone(&self.core);
        let done = tokio::task::spawn_blocking(move || {
            let done = service.answer(&core, &call);
            drop(body);
            done
        })
        .await
        .unwrap_or_else(|e| {
            tracing::error!(error = %e, "the sandbox failed to serve a request");
            Err(ServiceError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure", "the sandbox failed"))
        });
        let error_reply = match &done {
            Err(error) => visit.error(error),
            Ok(_) => Reply::empty(StatusCode::OK),
        };
        match done {
            Ok(Done { reply, samples, caller_arn: found }) => {
                self.enter(visit, End::Accepted { caller_arn: found.or(caller_arn), samples, bytes });
                reply
            }
            Err(ServiceError { refusal: Some(refusal), .. }) => {
                tracing::debug!(service = service.name(), reason = refusal.name(), "refused");
                self.enter(visit, End::Refused { refusal: *refusal, path: visit.path.clone() });
                error_reply
            }
            Err(error) => {
                let problem = visit.problem(&error);
                self.enter(visit, End::Failed { caller_arn, problem, samples: error.stored });
                error_reply
            }
        }
    }

    /// Plays a fault. `None`: go on as if nothing were.
    async fn strike(&self, fault: &Fault, visit: &Visit, enters: bool) -> Result<Option<Reply>, Closed> {
        self.pause(Duration::from_millis(fault.delay_ms)).await;
        let enter = |problem: String| {
            if enters {
                self.enter(visit, End::Faulted { problem });
            }
        };
        match &fault.outcome {
            Outcome::Pass | Outcome::Partial(_) => Ok(None),
            Outcome::Throttle => {
                let (status, code, message) = visit.service.throttling();
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
                enter(format!("scripted: {status} {code}"));
                Ok(Some(visit.error(&ServiceError::new(status, code, message))))
            }
            Outcome::Close => {
                enter("scripted: connection closed".to_owned());
                Err(Closed)
            }
            Outcome::Hang => {
                enter("scripted: no answer".to_owned());
                self.pause(self.core.limits.hang).await;
                Err(Closed)
            }
            Outcome::Answer { status, code, message, body, retry_after, headers } => {
                let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                enter(format!("scripted: {status}"));
                let code = code.as_deref().unwrap_or_else(|| usual_code(status));
                let mut reply = match (body, status.is_success()) {
                    (Some(body), _) => Reply::text(status, body.clone()),
                    (None, true) => Reply::empty(status),
                    (None, false) => {
                        let message = message.clone().unwrap_or_else(|| format!("scripted by the sandbox: {status}"));
                        visit.error(&ServiceError::new(status, code, message))
                    }
                };
                if let Some(seconds) = retry_after {
                    reply = reply.with("retry-after", seconds);
                }
                for (name, value) in headers {
                    reply = reply.with(name, value);
                }
                Ok(Some(reply))
            }
        }
    }

    /// Waits, unless the sandbox stops first.
    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time.min(self.core.limits.hang)) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// The sandbox's own face: page and control.
    async fn own(&self, target: &Target, body: Incoming) -> Reply {
        match self.read(body, self.core.limits.body).await {
            Ok(body) => {
                let (core, target) = (Arc::clone(&self.core), target.clone());
                tokio::task::spawn_blocking(move || control::answer(&core, &target, &body.bytes))
                    .await
                    .unwrap_or_else(|_| Reply::text(StatusCode::INTERNAL_SERVER_ERROR, "the sandbox failed\n"))
            }
            Err(error) => error.reply(ErrorStyle::Text, "", &target.path),
        }
    }

    /// Reads a body of at most `limit` bytes, within the time and the room there is.
    async fn read(&self, body: Incoming, limit: usize) -> Result<ReadBody, ServiceError> {
        let too_large = || {
            ServiceError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "RequestEntityTooLarge",
                format!("the body is larger than {limit} bytes"),
            )
        };
        let hint = body.size_hint();
        if hint.lower() > limit as u64 {
            return Err(too_large());
        }
        // A body of unknown size may grow up to the limit, so that much room is taken.
        let expected = hint.exact().and_then(|size| usize::try_from(size).ok()).unwrap_or(limit);
        let reading = async {
            let permits = u32::try_from(expected.div_ceil(1024)).unwrap_or(u32::MAX);
            let permit = Arc::clone(&self.core.body_room).acquire_many_owned(permits).await.ok();
            let mut body = body;
            let mut bytes = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|e| {
                    ServiceError::new(StatusCode::BAD_REQUEST, "IncompleteBody", format!("reading the body: {e}"))
                })?;
                if let Some(chunk) = frame.data_ref() {
                    if bytes.len() + chunk.len() > limit {
                        return Err(too_large());
                    }
                    bytes.extend_from_slice(chunk);
                }
            }
            Ok(ReadBody { bytes: bytes.freeze(), _room: permit })
        };
        tokio::time::timeout(self.core.limits.body_read_timeout, reading).await.unwrap_or_else(|_| {
            Err(ServiceError::new(
                StatusCode::REQUEST_TIMEOUT,
                "RequestTimeout",
                "Your socket connection to the server was not read from or written to within the timeout period.",
            ))
        })
    }

    fn enter(&self, visit: &Visit, end: End) {
        self.core.arrivals.lock().enter(&visit.sender, visit.about.clone(), self.core.clock.now_ms(), end);
        self.core.changed();
    }

    /// Adds what every answer has.
    fn finish(&self, reply: Reply, style: ErrorStyle, request_id: &str, date_shift_ms: i64) -> Response<Full<Bytes>> {
        let date = http_date(self.core.clock.now_ms().saturating_add(date_shift_ms));
        let reply = reply.with("date", &date);
        let reply = match style {
            ErrorStyle::S3Xml => reply.with("x-amz-request-id", request_id).with("x-amz-id-2", "sandbox"),
            ErrorStyle::Text | ErrorStyle::Vault => reply,
            ErrorStyle::RestJson | ErrorStyle::Json11 | ErrorStyle::QueryXml => {
                reply.with("x-amzn-requestid", request_id)
            }
        };
        let mut response = Response::new(Full::new(reply.body));
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        response
    }
}

/// A body and the room it takes until it is dropped.
struct ReadBody {
    bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// One request's identity in the books.
struct Visit {
    service: &'static dyn Service,
    style: ErrorStyle,
    sender: Sender,
    about: About,
    path: String,
    request_id: String,
}

impl Visit {
    fn error(&self, error: &ServiceError) -> Reply {
        error.reply(self.style, &self.request_id, &self.path)
    }

    fn problem(&self, error: &ServiceError) -> String {
        crate::refusal::shown(&format!("{} {}: {}", error.status.as_u16(), error.code, error.message))
    }
}

/// For whom asks by a name that is not this machine's. A browser does so for a page whose site's name was made to point here,
/// and then takes the page and the sandbox for one site.
fn stranger() -> Reply {
    let text =
        "this is not asked for by that host name: use 127.0.0.1 or localhost, or start the sandbox with --name NAME\n";
    Reply::text(StatusCode::MISDIRECTED_REQUEST, text)
}

/// Whether a browser says that the request comes from a page of another site.
fn is_foreign_page(headers: &HeaderMap, target: &Target) -> bool {
    headers.get(http::header::ORIGIN).is_some_and(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        origin.split_once("://").is_none_or(|(_, host)| host != target.host)
    })
}

fn usual_code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UnrecognizedClientException",
        403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        409 => "ConflictException",
        413 => "RequestEntityTooLarge",
        429 => "ThrottlingException",
        503 => "ServiceUnavailable",
        400..=499 => "ValidationException",
        _ => "InternalFailure",
    }
}
