//! A time zone by name, with Go's answers for times that a change of the clock skips or repeats.

use jiff::{Timestamp, tz::TimeZone};

/// `location` of a timestamp stage.
#[derive(Debug, Clone)]
pub struct Location(TimeZone);

/// How far to look for a change of the clock that bears an abbreviation.
const CHANGES: usize = 4;

impl Location {
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// As Go's `LoadLocation`: a name of the time zone database, empty or `UTC`, or `Local`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "" | "UTC" => Some(Self::utc()),
            "Local" => TimeZone::try_system().ok().map(Self),
            name => TimeZone::get(name).ok().map(Self),
        }
    }

    /// Seconds east of UTC at a moment.
    pub(crate) fn offset_at(&self, seconds: i64) -> i64 {
        i64::from(self.0.to_offset(clamped(seconds)).seconds())
    }

    /// What the zone is called at a moment.
    pub(crate) fn abbreviation_at(&self, seconds: i64) -> String {
        self.0.to_offset_info(clamped(seconds)).abbreviation().to_owned()
    }

    /// The moment at which clocks here show `wall` (seconds, as if UTC). Go's choice where there are two or none.
    pub(crate) fn moment(&self, wall: i64) -> i64 {
        let guess = self.offset_at(wall);
        wall - self.offset_at(wall - guess)
    }

    /// The offset that `abbreviation` means here, preferring the one that is in force when clocks show `wall`.
    pub(crate) fn offset_named(&self, abbreviation: &str, wall: i64) -> Option<i64> {
        let moment = clamped(self.moment(wall));
        if self.0.to_offset_info(moment).abbreviation() == abbreviation {
            return Some(i64::from(self.0.to_offset(moment).seconds()));
        }
        let changes = self.0.preceding(moment).take(CHANGES).chain(self.0.following(moment).take(CHANGES));
        let offsets: Vec<i64> = changes
            .filter(|change| change.abbreviation() == abbreviation)
            .map(|change| i64::from(change.offset().seconds()))
            .collect();
        let in_force = |offset: &&i64| {
            self.0.to_offset_info(clamped(wall.saturating_sub(**offset))).abbreviation() == abbreviation
        };
        offsets.iter().find(in_force).or(offsets.first()).copied()
    }
}

fn clamped(seconds: i64) -> Timestamp {
    let limit = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(seconds).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_and_repeated_times_have_gos_answer() {
        let berlin = Location::named("Europe/Berlin").unwrap();
        // 2021-03-28 02:30 does not exist: Go answers with 03:30 CEST.
        assert_eq!(berlin.moment(1_616_898_600), 1_616_898_600 - 3600);
        // 2021-10-31 02:30 exists twice.
        let moment = berlin.moment(1_635_647_400);
        assert!([3600, 7200].contains(&(1_635_647_400 - moment)));
        assert_eq!(berlin.offset_named("CET", 1_625_140_800), Some(3600));
        assert_eq!(berlin.offset_named("XYZ", 1_625_140_800), None);
        assert!(Location::named("Nowhere/Here").is_none());
    }
}
