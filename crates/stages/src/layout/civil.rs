//! A date and time as a calendar and a clock show it, and its distance from the epoch. Proleptic Gregorian.

pub(crate) const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Fields may only be set to values of their ranges; the day is checked by who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Civil {
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub nanosecond: i64,
}

impl Civil {
    /// Seconds since the epoch if this were UTC. Days past the month's end run into the next.
    pub fn seconds_as_utc(&self) -> i64 {
        // Days from civil: years start in March, so that a leap day is a year's last.
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        ((days * 24 + self.hour) * 60 + self.minute) * 60 + self.second
    }

    /// The reverse, for any number of nanoseconds since the epoch.
    pub fn from_nanos(nanos: i64) -> Self {
        let seconds = nanos.div_euclid(NANOS_PER_SECOND);
        let days = seconds.div_euclid(86_400);
        let of_day = seconds.rem_euclid(86_400);
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = (shifted_month + 2) % 12 + 1;
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            nanosecond: nanos.rem_euclid(NANOS_PER_SECOND),
        }
    }

    /// 1 for the first of January.
    pub fn year_day(&self) -> i64 {
        let first = Self { month: 1, day: 1, hour: 0, minute: 0, second: 0, ..*self };
        let today = Self { hour: 0, minute: 0, second: 0, ..*self };
        (today.seconds_as_utc() - first.seconds_as_utc()) / 86_400 + 1
    }

    /// 0 for Sunday.
    pub fn weekday(&self) -> i64 {
        (self.seconds_as_utc().div_euclid(86_400) + 4).rem_euclid(7)
    }
}

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

pub(super) fn days_in(month: i64, year: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_each_others_reverse() {
        for day in (-100_000..100_000).step_by(13) {
            let nanos = day * 86_400 * NANOS_PER_SECOND / 2;
            let civil = Civil::from_nanos(nanos);
            assert_eq!(civil.seconds_as_utc() * NANOS_PER_SECOND + civil.nanosecond, nanos, "{civil:?}");
            assert!((1..=12).contains(&civil.month) && civil.day >= 1 && civil.day <= days_in(civil.month, civil.year));
        }
        let known = Civil::from_nanos(1_136_214_245 * NANOS_PER_SECOND);
        assert_eq!((known.year, known.month, known.day, known.hour), (2006, 1, 2, 15));
        assert_eq!((known.weekday(), known.year_day()), (1, 2));
    }
}
