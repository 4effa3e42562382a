//! One request and its body, and what is kept from one scrape of a target to the next.
//!
//! Keeps true: within the target's timeout, whatever happens; at most the job's body limit, and above `LARGE` only by turns,
//! so that many huge answers at once cannot take the memory of the machine.

use std::{sync::Arc, time::Duration};

use net::{NetError, StandingRequest};
use tokio::time::Instant;

use crate::{
    Bodies, Format,
    bodies::LARGE,
    failure::ScrapeFailure,
    request::{self, check},
    settings::Settings,
    target::Target,
};

/// A target's side of its fetches: the prepared request with its connection, and how large the answers are.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Made for these settings.
    request: Option<(Arc<Settings>, StandingRequest)>,
    /// The last body was a large one: the next needs a turn.
    large: bool,
}

impl Line {
    /// Fills `body`.
    pub(crate) async fn fetch(
        &mut self,
        settings: &Arc<Settings>,
        target: &Target,
        bodies: &Bodies,
        body: &mut Vec<u8>,
    ) -> Result<Format, ScrapeFailure> {
        let request = prepared(&mut self.request, settings, target)?;
        let result = within_limits(request, settings, target, bodies, body, &mut self.large).await;
        request.rest(target.interval);
        result
    }
}

/// The request for these settings. Its connection is kept as long as the client is the same.
fn prepared<'a>(
    kept: &'a mut Option<(Arc<Settings>, StandingRequest)>,
    settings: &Arc<Settings>,
    target: &Target,
) -> Result<&'a mut StandingRequest, ScrapeFailure> {
    let request = match kept.take() {
        Some((of, request)) if Arc::ptr_eq(&of, settings) => request,
        Some((_, mut request)) if request.client().is(&settings.client) => {
            request.headers_mut().clone_from(settings.ask.headers());
            request
        }
        _ => settings.client.standing(&target.url, settings.ask.headers().clone())?,
    };
    Ok(&mut kept.insert((settings.clone(), request)).1)
}

async fn within_limits(
    request: &mut StandingRequest,
    settings: &Settings,
    target: &Target,
    bodies: &Bodies,
    body: &mut Vec<u8>,
    large: &mut bool,
) -> Result<Format, ScrapeFailure> {
    let end = Instant::now() + target.timeout;
    if !*large {
        let limit = settings.body_limit.min(LARGE);
        match attempt(request, settings, target.timeout, limit, body).await {
            Err(ScrapeFailure::Net(NetError::BodyTooLarge { .. })) if limit < settings.body_limit => *large = true,
            other => return other,
        }
    }
    let Ok(_turn) = tokio::time::timeout_at(end, bodies.large_turn()).await else {
        return Err(ScrapeFailure::Turn { after: target.timeout });
    };
    let left = end.saturating_duration_since(Instant::now());
    let mut result = attempt(request, settings, left, settings.body_limit, body).await;
    if let Err(ScrapeFailure::Net(NetError::Timeout { after, .. })) = &mut result {
        // What a person set, not what was left of it.
        *after = target.timeout;
    }
    // Asked for twice only where the size keeps crossing the line.
    *large = body.len() as u64 > LARGE / 2;
    result
}

async fn attempt(
    request: &mut StandingRequest,
    settings: &Settings,
    timeout: Duration,
    limit: u64,
    body: &mut Vec<u8>,
) -> Result<Format, ScrapeFailure> {
    request::announce(request.headers_mut(), timeout);
    let head = request.send_into(timeout, limit, body).await?;
    check(head.status)?;
    let open = request::is_openmetrics(&head.headers, settings.job.fallback_protocol);
    Ok(if open { Format::OpenMetrics1 } else { Format::Text004 })
}
