//! One container's output, from a place to its end.
//!
//! Keeps true: the place that goes with lines lies behind the last of them and before the first part of the next; what was
//! not taken is asked for again.

use std::{sync::Arc, time::Duration};

use discovery::DockerEngine;
use tokio::sync::mpsc;

use super::{
    frames::{Frames, Message},
    place::Place,
};
use crate::{LONGEST_LINE, clock::now_ns};

/// A container may be silent for so long until its output is asked for anew.
const SILENCE: Duration = Duration::from_secs(24 * 3600);
/// Lines that go on together.
const TOGETHER: usize = 1024;

pub(super) struct Line {
    pub is_error: bool,
    pub timestamp_ns: i64,
    pub text: Vec<u8>,
}

/// What the reader is told by its followers.
pub(super) enum Told {
    Lines {
        id: Arc<str>,
        lines: Vec<Line>,
        place: Place,
        /// Lines without a time in front.
        untimed: u64,
        /// Lines of which only the beginning was kept.
        cut: u64,
    },
    Ended {
        id: Arc<str>,
        end: End,
    },
}

/// Why there is nothing more.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The container does not run any more.
    Finished,
    /// The engine broke off.
    BrokenOff,
    /// It cannot be read.
    Failed(String),
}

/// A line of which parts came, for each output.
#[derive(Default)]
struct Begun {
    text: Vec<u8>,
    first_ns: Option<i64>,
    /// Times of its parts.
    parts: Vec<i64>,
    cut: bool,
}

/// Follows it until it ends; tells `told` that.
pub(super) async fn follow(engine: DockerEngine, id: Arc<str>, place: Place, told: mpsc::Sender<Told>) {
    let end = match read(&engine, &id, place, &told).await {
        Ok(end) => end,
        Err(why) => End::Failed(why),
    };
    // Nobody listens: the reader ends.
    let _ = told.send(Told::Ended { id, end }).await;
}

async fn read(
    engine: &DockerEngine,
    id: &Arc<str>,
    mut place: Place,
    told: &mpsc::Sender<Told>,
) -> Result<End, String> {
    let say = |error: discovery::DiscoveryError| error.to_string();
    let Some(found) = engine.inspect(id).await.map_err(say)? else {
        return Ok(End::Finished);
    };
    let mut reply = match engine.logs(id, place.since_ns()).await {
        Ok(reply) => reply,
        Err(discovery::DiscoveryError::Gone { .. }) => return Ok(End::Finished),
        Err(error) => return Err(say(error)),
    };
    let mut frames = Frames::new(found.terminal);
    let mut sieve = place.sieve();
    let mut messages = Vec::new();
    let mut begun = [Begun::default(), Begun::default()];
    loop {
        let piece = match reply.piece(SILENCE).await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(_) => return Ok(End::BrokenOff),
        };
        frames.push(&piece, &mut messages).map_err(str::to_owned)?;
        let (mut lines, mut untimed, mut cut) = (Vec::new(), 0, 0);
        let mut messages = messages.drain(..).peekable();
        while let Some(message) = messages.next() {
            let is_error = message.is_error;
            // One without a time stands where the one before it stood.
            let ns = message.ns.unwrap_or_else(|| place.last_ns(is_error));
            if message.ns.is_some() && sieve.was_read(is_error, ns) {
                continue;
            }
            untimed += u64::from(message.ns.is_none());
            let [out, err] = &mut begun;
            let line = if is_error { err } else { out };
            if let Some(Begun { text, first_ns, parts, cut: was_cut }) = line.take(message) {
                parts.into_iter().for_each(|ns| place.advance(is_error, ns));
                cut += u64::from(was_cut);
                if !text.is_empty() {
                    lines.push(Line { is_error, timestamp_ns: first_ns.unwrap_or_else(now_ns), text });
                }
            }
            if (lines.len() >= TOGETHER || messages.peek().is_none()) && !lines.is_empty() {
                let lines = std::mem::take(&mut lines);
                let (untimed, cut) = (std::mem::take(&mut untimed), std::mem::take(&mut cut));
                let lines = Told::Lines { id: Arc::clone(id), lines, place, untimed, cut };
                if told.send(lines).await.is_err() {
                    return Ok(End::BrokenOff);
                }
            }
        }
    }
    let still = engine.inspect(id).await.map_err(say)?.is_some_and(|found| found.running);
    if still {
        return Ok(End::BrokenOff);
    }
    let mut lines = Vec::new();
    for (is_error, line) in [false, true].into_iter().zip(begun) {
        let Begun { text, first_ns, parts, .. } = line;
        parts.into_iter().for_each(|ns| place.advance(is_error, ns));
        if !text.is_empty() {
            lines.push(Line { is_error, timestamp_ns: first_ns.unwrap_or_else(now_ns), text });
        }
    }
    if !lines.is_empty() {
        let _ = told.send(Told::Lines { id: Arc::clone(id), lines, place, untimed: 0, cut: 0 }).await;
    }
    Ok(End::Finished)
}

impl Begun {
    /// Adds a message; gives the line if it ends with it.
    fn take(&mut self, message: Message) -> Option<Self> {
        let room = LONGEST_LINE.saturating_sub(self.text.len());
        self.cut |= message.cut || message.text.len() > room;
        self.text.extend_from_slice(message.text.get(..room).unwrap_or(&message.text));
        self.first_ns = self.first_ns.or(message.ns);
        // Of a line without end the times of its last parts are enough: the place has the last one only.
        if self.parts.len() > 64 {
            self.parts.drain(..32);
        }
        self.parts.extend(message.ns);
        message.ends.then(|| std::mem::take(self))
    }
}
