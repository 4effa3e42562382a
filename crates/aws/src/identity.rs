//! One destination's identity: signs its requests, watches its clock, and judges what AWS says about it.
//!
//! Sends nothing itself. Keeps true: no refusal makes it retry in a tight loop; every `why` says what AWS said, which key,
//! from where, and what to do.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::Request;
use net::{Answer, Authorize, AuthorizeError, BoxFuture, IdentityVerdict};
use parking_lot::Mutex;

use crate::{
    Asked, Fault, Refused, RegionOrigin,
    cache::{CredentialCache, FarTime},
    clock::{Clock, SKEW_MS},
    explain::{CallerFacts, CallerIdentity, Explanation, SourceOutcome, Trail, last4},
    origin::Origin,
    process,
    region::{self, SigningRegion},
    signer::{self, Scope},
    verdict::{self, Refusal},
};

/// One destination's identity. Make it with [`build`].
#[derive(Debug)]
pub struct Identity {
    destination: Arc<str>,
    service: String,
    region: Arc<SigningRegion>,
    cache: Arc<CredentialCache>,
    /// For explanations; the cache fetches from one of its own.
    origin: Arc<Origin>,
    clock: Clock,
    trials: Mutex<Trials>,
}

/// What was tried against refusals.
#[derive(Debug, Default)]
struct Trials {
    /// When credentials were last thrown away for a refusal, and whether anything was accepted since.
    refreshed_at: Option<Instant>,
    /// The same by the clock that requests are dated with.
    refreshed_on: Option<SystemTime>,
    accepted_since: bool,
    last_refusal: Option<String>,
}

/// A refusal after a refresh this long ago is a new one.
const NEW_TRIAL: Duration = Duration::from_secs(60);
/// Not even accepted answers in between allow refreshes closer than this.
const TRIAL_GAP: Duration = Duration::from_millis(500);

/// A snapshot for pages and metrics; holds no secret.
#[derive(Debug, Clone)]
pub struct IdentityStatus {
    /// Such as `profile prod` or `role arn:... on instance metadata`.
    pub source: String,
    /// The access key id in use.
    pub access_key_id: Option<String>,
    /// When these credentials end, if they do.
    pub expires: Option<SystemTime>,
    /// When these very credentials were first seen.
    pub obtained: Option<SystemTime>,
    /// Fetches that gave credentials.
    pub refreshes: u64,
    /// Fetches that did not.
    pub refresh_failures: u64,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<String>,
    /// What AWS said to the last refusal since the last accepted request.
    pub last_refusal: Option<String>,
    /// AWS's clock minus ours, in milliseconds, once known.
    pub clock_offset_ms: Option<i64>,
    /// Signing region and who named it; `None` while only the metadata service could tell.
    pub region: Option<(String, RegionOrigin)>,
    /// Signing name.
    pub service: String,
}

impl Identity {
    pub(crate) fn new(
        destination: &str,
        service: String,
        region: Arc<SigningRegion>,
        cache: Arc<CredentialCache>,
        origin: Arc<Origin>,
        clock: Clock,
    ) -> Self {
        let destination: Arc<str> = destination.into();
        cache.join(&destination);
        clock.join(&destination);
        let trials = Mutex::default();
        Self { destination, service, region, cache, origin, clock, trials }
    }

    /// What pages and metrics show of it.
    pub fn status(&self) -> IdentityStatus {
        let cache = self.cache.status();
        let held = cache.held.as_deref();
        IdentityStatus {
            source: held.map_or_else(|| self.cache.describe(), |h| h.source.clone()),
            access_key_id: held.map(|h| verdict::plain_id(h.credentials.access_key_id())),
            expires: held.and_then(|h| h.credentials.expiry()),
            obtained: held.map(|h| h.obtained_at),
            refreshes: cache.refreshes,
            refresh_failures: cache.failures,
            last_error: cache.last_error,
            last_refusal: self.trials.lock().last_refusal.clone(),
            clock_offset_ms: self.clock.offset_ms(),
            region: self.region.now(),
            service: self.service.clone(),
        }
    }

    /// Asks every source afresh, as the first signature of a new process would, and tells all that was considered and what
    /// came of it. The credentials in use stay as they are; where there are none yet, what was found becomes them. Ends within two
    /// minutes.
    pub async fn explain(&self) -> Explanation {
        let mut trail = Trail::default();
        let fetched = self.origin.fetch_by(&mut trail).await;
        for (source, why) in self.origin.left_alone() {
            trail.note(source, SourceOutcome::NotAsked, why);
        }
        let (caller, error, fault) = match fetched {
            Ok(fetched) => {
                let facts = CallerFacts {
                    source: fetched.source.clone(),
                    key_last4: last4(fetched.credentials.access_key_id()),
                    role_arn: self.origin.role_arn(),
                    expires: fetched.credentials.expiry(),
                    is_temporary: fetched.credentials.session_token().is_some(),
                    is_of_command: process::is_of_command(&fetched.credentials),
                };
                self.cache.offer(fetched, self.far_time());
                (Some(facts), None, None)
            }
            Err(error) => (None, Some(error.message), error.fault.map(|fault| *fault)),
        };
        let region = self.region.get().await;
        let asked_sts = matches!(
            fault,
            Some(
                Fault::Unreached(Asked::Sts | Asked::StsWebIdentity)
                    | Fault::OddAnswer(Asked::Sts | Asked::StsWebIdentity)
                    | Fault::ProfileMfa { .. }
                    | Fault::Refused(Refused { by: Asked::Sts | Asked::StsWebIdentity, .. })
                    | Fault::InTrouble(Refused { by: Asked::Sts | Asked::StsWebIdentity, .. })
            )
        );
        Explanation {
            destination: self.destination.as_ref().to_owned(),
            service: self.service.clone(),
            sources: trail.sources,
            roles: trail.roles,
            caller,
            error,
            fault,
            remarks: trail.remarks,
            region: region.as_ref().ok().cloned(),
            region_places: self.region.places(),
            region_error: region.err(),
            sts_endpoint: self.origin.sts_endpoint(asked_sts).await,
            clock_offset_ms: self.clock.offset_ms(),
            certificates: self.origin.certificates().await,
        }
    }

    /// The longest that [`Self::explain`] takes where every source is as slow as it may be.
    pub fn patience(&self) -> Duration {
        self.origin.patience()
    }

    /// Where roles are assumed, if this identity's own block asks STS for anything, as far as that is known without asking anybody.
    pub async fn sts_endpoint(&self) -> Option<String> {
        self.origin.sts_endpoint(false).await
    }

    /// The region that requests are signed for.
    pub(crate) async fn signing_region(&self) -> Result<String, String> {
        self.region.get().await.map(|(region, _)| region)
    }

    /// The STS of that region, or the configured one.
    pub(crate) async fn sts_url(&self) -> Result<url::Url, String> {
        let region = self.signing_region().await?;
        self.origin.sts_url(&region).map_err(|e| e.message)
    }

    /// Asks STS who we are with the credentials in use (fetching them if there are none). Needs no permission. The error
    /// says what STS said, or why it could not be asked.
    pub async fn caller_identity(&self) -> Result<CallerIdentity, String> {
        let held = self.cache.get(self.far_time()).await.map_err(|e| e.message)?;
        let (region, _) = self.region.get().await?;
        self.origin.caller_identity(&held.credentials, &region, self.clock.now()).await.map_err(|e| e.message)
    }

    fn far_time(&self) -> FarTime {
        FarTime { at: self.clock.now(), is_told: self.clock.offset_ms().is_some() }
    }

    async fn sign(&self, request: &mut Request<Bytes>) -> Result<(), AuthorizeError> {
        let error = |what: String| AuthorizeError { what, source: None };
        let (region, _) = self.region.get().await.map_err(error)?;
        let held = self.cache.get(self.far_time()).await.map_err(|e| AuthorizeError {
            // Whole, and so without a source, which would say it twice.
            what: format!("no AWS credentials for {}: {e}", self.destination),
            source: None,
        })?;
        // Later than when the credentials were asked for.
        let scope = Scope { region: &region, service: &self.service, time: self.clock.now() };
        signer::sign_request(request, &held.credentials, scope).map_err(error)
    }

    fn verdict(&self, answer: &Answer<'_>) -> IdentityVerdict {
        self.clock.observe(answer);
        let Some(error) = net::service_error::parse(answer.status, answer.headers, answer.body) else {
            let mut trials = self.trials.lock();
            trials.accepted_since = true;
            trials.last_refusal = None;
            return IdentityVerdict::Unrelated;
        };
        let Some(refusal) = verdict::classify(answer.status, &error) else {
            return IdentityVerdict::Unrelated;
        };
        let region = self.region.now().map_or_else(String::new, |(r, _)| r);
        let offset = self.clock.offset_ms();
        let who = self.describe();
        let said = verdict::said(answer.status, &error);
        let why = |what: String| format!("AWS said {said}; signed as {who}; {what}");
        let retry = |what: &str| IdentityVerdict::RetryNow { why: why(format!("{what}, trying again")) };
        let advice = || {
            let when_expired = || self.cache.advice_when_expired();
            verdict::advice(refusal, &error, &self.service, &region, offset, when_expired)
        };
        let hold = || IdentityVerdict::Hold { why: why(advice()) };

        let reclocked = self.clock.changed_since(answer.sent_at);
        let far_off = offset.is_some_and(|ms| ms.abs() > SKEW_MS);
        let outcome = match refusal {
            Refusal::Skewed if reclocked => retry("the clock's offset is now known"),
            Refusal::BadSignature | Refusal::Denied | Refusal::Expired if reclocked && far_off => {
                retry("the clock's offset is now known")
            }
            Refusal::Skewed | Refusal::Unsigned | Refusal::NotEnabled => hold(),
            Refusal::WrongRegion => match named_region(answer, &error.message) {
                // A redirect means another host, which signing cannot change.
                Some(right) if answer.status.is_client_error() && self.region.correct(&right) => {
                    retry(&format!("the bucket is in {right}"))
                }
                Some(right) => IdentityVerdict::Hold {
                    why: why(format!(
                        "the bucket is in {right}: set region: {right} and use https://s3.{right}.amazonaws.com"
                    )),
                },
                None => hold(),
            },
            Refusal::Denied => {
                // Policies change without new credentials; a session may carry old ones, so the next probe has new.
                self.try_refresh(answer);
                hold()
            }
            Refusal::Expired | Refusal::BadSignature | Refusal::UnknownKey | Refusal::Unexplained => {
                if self.try_refresh(answer) { retry("credentials are fetched afresh") } else { hold() }
            }
        };
        if let IdentityVerdict::Hold { why } = &outcome {
            self.trials.lock().last_refusal = Some(why.clone());
        }
        outcome
    }

    /// Throws the refused credentials away. True when signing again is worth an immediate try: newer credentials are there
    /// or on their way, and this is not the second refusal in a row.
    fn try_refresh(&self, answer: &Answer<'_>) -> bool {
        let (held, stale) = self.cache.held();
        let Some(held) = held else { return false };
        self.origin.doubt();
        if held.obtained_at > answer.sent_at {
            return true;
        }
        let mut trials = self.trials.lock();
        // Sent before this destination's own trial. A trial of another that shares the credentials gives no second one.
        if stale && trials.refreshed_on.is_some_and(|on| answer.sent_at <= on) {
            return true;
        }
        let worth = match trials.refreshed_at {
            None => true,
            Some(at) => at.elapsed() >= NEW_TRIAL || (trials.accepted_since && at.elapsed() >= TRIAL_GAP),
        };
        // Without a right to an immediate try the next slow probe still gets fresh credentials.
        self.cache.invalidate(held.fingerprint);
        if worth {
            trials.refreshed_at = Some(Instant::now());
            trials.refreshed_on = Some(SystemTime::now());
            trials.accepted_since = false;
        }
        worth
    }
}

impl Authorize for Identity {
    fn authorize<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), AuthorizeError>> {
        Box::pin(self.sign(request))
    }

    fn judge(&self, answer: &Answer<'_>) -> IdentityVerdict {
        self.verdict(answer)
    }

    fn describe(&self) -> String {
        let region = self.region.now().map_or_else(|| "a region yet unknown".to_owned(), |(r, _)| r);
        match self.cache.held().0 {
            Some(held) => {
                let key = verdict::show_key(held.credentials.access_key_id());
                format!("{key} from {} for {} in {region}", held.source, self.service)
            }
            None => format!("{} for {} in {region}", self.cache.describe(), self.service),
        }
    }
}

/// The region that S3's answer names.
fn named_region(answer: &Answer<'_>, message: &str) -> Option<String> {
    let header = answer.headers.get("x-amz-bucket-region").and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
    let body = String::from_utf8_lossy(answer.body);
    let element = || body.split_once("<Region>")?.1.split_once("</Region>").map(|(region, _)| region.trim().to_owned());
    let expected = || message.split_once("expecting '")?.1.split_once('\'').map(|(region, _)| region.to_owned());
    header.or_else(element).or_else(expected).filter(|r| region::check("region", r).is_ok() && !r.is_empty())
}
