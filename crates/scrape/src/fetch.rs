//! One request and its body, and what is kept from one scrape of a target to the next.
//!
//! Keeps true: within the target's timeout, whatever happens; at most the job's body limit; and no more memory than
//! [`Bodies`] grants. What does not fit is asked for again once it may be read as a very large body.

use std::{sync::Arc, time::Duration};

use net::{NetError, StandingRequest};
use tokio::time::Instant;

use crate::{
    Bodies, Format,
    bodies::{Body, LARGE, Refusal},
    failure::ScrapeFailure,
    request::{self, check},
    settings::Settings,
    target::Target,
};

/// What need not be made again for each scrape.
#[derive(Debug)]
struct Prepared {
    request: StandingRequest,
    /// Made for these.
    settings: Arc<Settings>,
    /// The timeout that its headers tell.
    announced: Option<Duration>,
}

/// A target's side of its fetches: the prepared request with its connection, and what the last answer was like.
#[derive(Debug, Default)]
pub(crate) struct Line {
    prepared: Option<Prepared>,
    /// The last body was a very large one: the next needs a turn.
    large: bool,
    /// The last fetch succeeded.
    reliable: bool,
}

impl Line {
    pub(crate) async fn fetch(
        &mut self,
        settings: &Arc<Settings>,
        target: &Target,
        bodies: &Bodies,
    ) -> Result<(Body, Format), ScrapeFailure> {
        let prepared = prepared(&mut self.prepared, settings, target)?;
        let body = bodies.body(self.reliable);
        // Until it succeeded: a fetch that is broken off says nothing good.
        self.reliable = false;
        let result = within_limits(prepared, target, body, &mut self.large).await;
        self.reliable = result.is_ok();
        prepared.request.rest(target.interval);
        result
    }
}

/// The request for these settings. Its connection is kept as long as the client is the same.
fn prepared<'a>(
    kept: &'a mut Option<Prepared>,
    settings: &Arc<Settings>,
    target: &Target,
) -> Result<&'a mut Prepared, ScrapeFailure> {
    let request = match kept.take() {
        Some(kept_before) if Arc::ptr_eq(&kept_before.settings, settings) => return Ok(kept.insert(kept_before)),
        Some(Prepared { mut request, .. }) if request.client().is(&settings.client) => {
            request.headers_mut().clone_from(settings.ask.headers());
            request
        }
        _ => settings.client.standing(&target.url, settings.ask.headers().clone())?,
    };
    Ok(kept.insert(Prepared { request, settings: settings.clone(), announced: None }))
}

async fn within_limits(
    prepared: &mut Prepared,
    target: &Target,
    mut body: Body,
    large: &mut bool,
) -> Result<(Body, Format), ScrapeFailure> {
    let end = Instant::now() + target.timeout;
    if !*large {
        let result = attempt(prepared, target.timeout, &mut body).await;
        match (&result, body.refusal()) {
            // Asked for twice only where the size keeps crossing the line.
            (Err(ScrapeFailure::Net(NetError::BodyTooLarge { .. })), Some(refusal)) => {
                *large = refusal == Refusal::Large
            }
            _ => return result.map(|format| (body, format)),
        }
    }
    let waited = ScrapeFailure::Turn { after: target.timeout };
    let Ok(recall) = tokio::time::timeout_at(end, body.wait_for_turn()).await else {
        return Err(waited);
    };
    let left = end.saturating_duration_since(Instant::now());
    let mut result = tokio::select! {
        result = attempt(prepared, left, &mut body) => result,
        () = recall.wait() => return Err(ScrapeFailure::Recalled),
    };
    if let Err(ScrapeFailure::Net(NetError::Timeout { after, .. })) = &mut result {
        // What a person set, not what was left of it.
        *after = target.timeout;
    }
    *large = body.bytes().len() > LARGE / 2;
    result.map(|format| (body, format))
}

async fn attempt(prepared: &mut Prepared, timeout: Duration, body: &mut Body) -> Result<Format, ScrapeFailure> {
    let Prepared { request, settings, announced } = prepared;
    if announced.replace(timeout) != Some(timeout) {
        request::announce(request.headers_mut(), timeout);
    }
    let head = request.send_into(timeout, settings.body_limit, body).await?;
    check(head.status)?;
    let open = request::is_openmetrics(&head.headers, settings.job.fallback_protocol);
    Ok(if open { Format::OpenMetrics1 } else { Format::Text004 })
}
