//! The queue's book as the agent shows it: on its `/metrics`, and by `sigpost queue inspect` when it does not run.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::agent::{Agent, command};

/// One destination's columns, all in items; summed over its lanes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    pub accepted: u64,
    pub delivered: u64,
    pub filtered: u64,
    pub rejected: u64,
    pub evicted: u64,
    pub expired: u64,
    pub damaged: u64,
    pub pending: u64,
    /// Pending when the destination was removed from the file, since the agent's start. Of an earlier book, if it came back: no
    /// part of `accepted`. Known to a running agent only.
    pub removed: u64,
    /// Delivered after they had been counted as evicted; part of `evicted`. Known to a running agent only.
    pub late_delivered: u64,
}

impl Row {
    /// Items that no column explains (negative: counted twice).
    pub fn unexplained(&self) -> i64 {
        let lost = self.filtered + self.rejected + self.evicted + self.expired + self.damaged;
        self.accepted.cast_signed() - (self.delivered + lost + self.pending).cast_signed()
    }
}

/// Rows by destination.
pub type Ledger = BTreeMap<String, Row>;

/// The book of a running agent. Fails if a row does not balance.
pub async fn of_running(agent: &Agent) -> Result<Ledger> {
    balanced(of_running_unchecked(agent).await?)
}

/// The same, whatever it says.
pub async fn of_running_unchecked(agent: &Agent) -> Result<Ledger> {
    let page = agent.get("/metrics").await?;
    let mut out = Ledger::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("sigpost_queue_")) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Some((name, labels)) = series.split_once('{') else { continue };
        let Some(destination) = labels.split("destination=\"").nth(1).and_then(|rest| rest.split('"').next()) else {
            continue;
        };
        let row = out.entry(destination.to_owned()).or_default();
        let column = match name {
            "accepted_items_total" => &mut row.accepted,
            "delivered_items_total" => &mut row.delivered,
            "filtered_items_total" => &mut row.filtered,
            // One series for each reason.
            "rejected_items_total" => &mut row.rejected,
            "evicted_items_total" => &mut row.evicted,
            "expired_items_total" => &mut row.expired,
            "damaged_items_total" => &mut row.damaged,
            "removed_items_total" => &mut row.removed,
            "late_delivered_items_total" => &mut row.late_delivered,
            "pending_items" => &mut row.pending,
            _ => continue,
        };
        let items: f64 = value.parse().with_context(|| format!("a number in {line:?}"))?;
        *column += items as u64;
    }
    Ok(out)
}

/// The book of a stopped agent, and whether its files are sound: `sigpost queue verify DIR --json`.
pub fn of_stopped(directory: &Path) -> Result<(Ledger, Value)> {
    let args = ["queue", "verify", &directory.display().to_string(), "--json"];
    let (code, text) = command(&args, &[], directory)?;
    if !matches!(code, Some(0 | 1)) {
        bail!("{args:?} ended with {code:?}: {text}");
    }
    let told: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    let mut out = Ledger::new();
    for cursor in told["inspection"]["cursors"].as_array().context("cursors")? {
        let row = out.entry(cursor["destination"].as_str().context("a name")?.to_owned()).or_default();
        let items = |key: &str| cursor[key].as_u64().with_context(|| format!("{key} in {cursor}"));
        row.accepted += items("accepted")?;
        row.delivered += items("delivered")?;
        row.filtered += items("filtered")?;
        row.rejected += items("rejected")?;
        row.evicted += items("evicted")?;
        row.expired += items("expired")?;
        row.damaged += items("damaged")?;
        row.pending += items("pending_items")?;
    }
    Ok((balanced(out)?, told))
}

fn balanced(ledger: Ledger) -> Result<Ledger> {
    for (destination, row) in &ledger {
        if row.unexplained() != 0 {
            bail!("the book of {destination} does not balance: {row:?}");
        }
    }
    Ok(ledger)
}
