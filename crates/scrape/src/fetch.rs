//! One request and its body.
//!
//! Keeps true: within the target's timeout, whatever happens; at most the job's body limit, and above `LARGE` only by turns,
//! so that many huge answers at once cannot take the memory of the machine.

use std::time::Duration;

use net::NetError;
use tokio::time::Instant;

use crate::{
    Bodies, Format,
    bodies::LARGE,
    failure::ScrapeFailure,
    request::{self, check},
    settings::Settings,
    target::Target,
};

/// Fills `body`. `large` is remembered from scrape to scrape: whether the target's body needs a turn.
pub(crate) async fn fetch(
    settings: &Settings,
    target: &Target,
    bodies: &Bodies,
    body: &mut Vec<u8>,
    large: &mut bool,
) -> Result<Format, ScrapeFailure> {
    let end = Instant::now() + target.timeout;
    if !*large {
        let limit = settings.body_limit.min(LARGE);
        match attempt(settings, target, target.timeout, limit, body).await {
            Err(ScrapeFailure::Net(NetError::BodyTooLarge { .. })) if limit < settings.body_limit => *large = true,
            other => return other,
        }
    }
    let Ok(_turn) = tokio::time::timeout_at(end, bodies.large_turn()).await else {
        return Err(ScrapeFailure::Turn { after: target.timeout });
    };
    let left = end.saturating_duration_since(Instant::now());
    let result = attempt(settings, target, left, settings.body_limit, body).await;
    // Asked for twice only where the size keeps crossing the line.
    *large = body.len() as u64 > LARGE / 2;
    result
}

async fn attempt(
    settings: &Settings,
    target: &Target,
    timeout: Duration,
    limit: u64,
    body: &mut Vec<u8>,
) -> Result<Format, ScrapeFailure> {
    let request = settings.ask.request(&target.url, timeout)?;
    let head = settings.client.send_into(request, timeout, limit, body).await?;
    check(head.status)?;
    let open = request::is_openmetrics(&head.headers, settings.job.fallback_protocol);
    Ok(if open { Format::OpenMetrics1 } else { Format::Text004 })
}
