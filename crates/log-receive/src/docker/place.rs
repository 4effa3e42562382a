//! How far a container's output was read: for each of its two outputs, the time of the last message and how many had it.
//!
//! Times of one output rise; between the two they may be a little out of order, which is why each has its own.

/// Messages of one output stand this much out of order with those of the other at most.
const DISORDER_NS: i64 = 5_000_000_000;

/// One output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Last {
    /// Nanoseconds since the epoch; 0: nothing was read.
    ns: i64,
    /// Messages of that time that were read.
    count: u64,
}

/// Standard output and standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place([Last; 2]);

impl Place {
    /// Reads what [`text`](Self::text) wrote, or the whole seconds that Promtail writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(seconds) = text.parse::<i64>() {
            let last = Last { ns: seconds.checked_mul(1_000_000_000)?, count: 0 };
            return Some(Self([last; 2]));
        }
        let (out, err) = text.split_once(',')?;
        let last = |text: &str| {
            let (ns, count) = text.split_once('+')?;
            Some(Last { ns: ns.parse().ok()?, count: count.parse().ok()? })
        };
        Some(Self([last(out)?, last(err)?]))
    }

    pub(super) fn text(&self) -> String {
        let [out, err] = self.0;
        format!("{}+{},{}+{}", out.ns, out.count, err.ns, err.count)
    }

    /// A message was read.
    pub(super) fn advance(&mut self, is_error: bool, ns: i64) {
        let [out, err] = &mut self.0;
        let last = if is_error { err } else { out };
        *last = Last { ns, count: if last.ns == ns { last.count + 1 } else { 1 } };
    }

    /// When the last message of an output was; 0 if there was none.
    pub(super) fn last_ns(&self, is_error: bool) -> i64 {
        let [out, err] = self.0;
        if is_error { err.ns } else { out.ns }
    }

    /// From when on the output is asked for.
    pub(super) fn since_ns(&self) -> i64 {
        let [out, err] = self.0;
        let (first, last) = (out.ns.min(err.ns), out.ns.max(err.ns));
        first.max(last.saturating_sub(DISORDER_NS))
    }

    /// What tells messages that were read from those that were not.
    pub(super) fn sieve(&self) -> Sieve {
        Sieve(self.0.map(|last| (last.ns > 0).then_some((last, 0))))
    }
}

/// Passes over what was read before.
#[derive(Debug)]
pub(super) struct Sieve([Option<(Last, u64)>; 2]);

impl Sieve {
    /// Whether a message was read before. After the first that was not, none was.
    pub(super) fn was_read(&mut self, is_error: bool, ns: i64) -> bool {
        let [out, err] = &mut self.0;
        let slot = if is_error { err } else { out };
        let Some((last, met)) = slot else { return false };
        if ns < last.ns {
            return true;
        }
        if ns == last.ns && *met < last.count {
            *met += 1;
            return true;
        }
        *slot = None;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back_and_promtails_seconds_are_understood() {
        let mut place = Place::default();
        for (is_error, ns) in [(false, 5), (false, 5), (true, 4), (false, 9)] {
            place.advance(is_error, ns);
        }
        assert_eq!(place.text(), "9+1,4+1");
        assert_eq!(Place::parse(&place.text()), Some(place));
        assert_eq!(Place::parse("17").map(|place| place.since_ns()), Some(17_000_000_000));
        for wrong in ["", "x", "1+1", "1,2", "1+1,2+x", "99999999999999999999"] {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_was_read_is_passed_over_and_nothing_else() {
        let mut place = Place::default();
        for ns in [1, 7, 7] {
            place.advance(false, ns);
        }
        place.advance(true, 3);
        let mut sieve = place.sieve();
        // As it lies in the log: a third message has the time of the last two.
        let log = [(false, 1), (true, 3), (false, 7), (false, 7), (false, 7), (true, 4), (false, 6), (false, 8)];
        let new: Vec<_> = log.into_iter().filter(|(is_error, ns)| !sieve.was_read(*is_error, *ns)).collect();
        assert_eq!(new, [(false, 7), (true, 4), (false, 6), (false, 8)]);
    }

    #[test]
    fn an_output_that_is_silent_for_long_does_not_make_the_other_be_read_again() {
        let mut place = Place::default();
        place.advance(false, 1_000_000_000_000);
        assert_eq!(place.since_ns(), 995_000_000_000);
        place.advance(true, 999_000_000_000);
        assert_eq!(place.since_ns(), 999_000_000_000);
    }
}
