//! What the service manager is told: that we run, reload, stop, and are alive (systemd's `sd_notify` protocol).
//!
//! Without `NOTIFY_SOCKET` in the environment all of this does nothing. Keeps true: a sign of life is given only after the
//! house answered for its books, so that a deadlock ends in a restart by systemd and not in silence.

use std::{sync::Arc, time::Duration};

use remote_write::DestinationState;
use sd_notify::NotifyState;

use crate::house::House;

/// The most that passes between two status lines.
const STATUS_INTERVAL: Duration = Duration::from_secs(15);

/// Starts have ended well: data flows.
pub fn ready(house: &House) {
    tell(&[NotifyState::Ready, NotifyState::Status(&status(house))]);
}

/// A new configuration is being read; [`ready`] says when that is over, whatever came of it.
pub fn reloading() {
    let Ok(now) = NotifyState::monotonic_usec_now() else { return };
    tell(&[NotifyState::Reloading, now]);
}

/// No data is taken in any more.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining: what is unsent stays on disk")]);
}

/// Gives signs of life twice in each interval that systemd asked for (`WatchdogSec=`), and a status line. Ends never.
pub async fn tend(house: Arc<House>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    let watchdog = sd_notify::watchdog_enabled();
    let interval = watchdog.map_or(STATUS_INTERVAL, |asked| (asked / 2).min(STATUS_INTERVAL));
    let mut ticks = tokio::time::interval(interval.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let house = Arc::clone(&house);
        // Its locks may be held for good: then there is no sign of life, and the other tasks go on.
        let Ok(text) = tokio::task::spawn_blocking(move || status(&house)).await else { continue };
        let status = NotifyState::Status(&text);
        match watchdog {
            Some(_) => tell(&[NotifyState::Watchdog, status]),
            None => tell(&[status]),
        }
    }
}

/// One line for `systemctl status`.
fn status(house: &House) -> String {
    let destinations = house.destinations();
    let well = |state: &DestinationState| matches!(state, DestinationState::Healthy | DestinationState::Starting);
    let unwell: Vec<String> =
        destinations.iter().filter(|d| !well(&d.state)).map(|d| format!("{} {}", d.name, d.state.word())).collect();
    let pending = house.ledger().rows.iter().map(|row| row.pending_items).max().unwrap_or(0);
    let all = destinations.len();
    let told = if unwell.is_empty() { String::new() } else { format!(" ({})", unwell.join(", ")) };
    format!("{} of {all} destinations take data{told}; {pending} samples wait", all - unwell.len())
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
