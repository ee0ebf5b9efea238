//! RFC 3339 to milliseconds since 1970 and back. Proleptic Gregorian calendar, leap seconds count
//! as the second before. Calendar arithmetic after Howard Hinnant's "chrono-compatible low-level
//! date algorithms" (`days_from_civil`, `civil_from_days`).

const DAY_MS: i64 = 86_400_000;

/// Milliseconds since 1970-01-01T00:00:00Z of an RFC 3339 timestamp, fractions beyond the
/// millisecond cut off; `None` when the text is not one.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (year, rest) = digits(bytes, 4)?;
    let (month, rest) = digits(expect(rest, b"-")?, 2)?;
    let (day, rest) = digits(expect(rest, b"-")?, 2)?;
    let (hour, rest) = digits(expect(rest, b"Tt ")?, 2)?;
    let (minute, rest) = digits(expect(rest, b":")?, 2)?;
    let (second, rest) = digits(expect(rest, b":")?, 2)?;
    let (milli, rest) = fraction(rest)?;
    let offset_minutes = offset(rest)?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let of_day = ((hour * 60 + minute - offset_minutes) * 60 + second.min(59)) * 1000 + milli;
    Some(days_from_civil(year, month, day) * DAY_MS + of_day)
}

/// The RFC 3339 form, in UTC with milliseconds, of a time between the years 0 and 9999; times
/// outside are clamped to these years.
pub fn format_rfc3339(ms: i64) -> String {
    let ms = ms.clamp(days_from_civil(0, 1, 1) * DAY_MS, days_from_civil(10_000, 1, 1) * DAY_MS - 1);
    let (days, of_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", of_day % 1000)
}

fn digits(bytes: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (head, rest) = bytes.split_at_checked(count)?;
    let mut number = 0;
    for byte in head {
        number = number * 10 + i64::from(byte.is_ascii_digit().then(|| byte - b'0')?);
    }
    Some((number, rest))
}

fn expect<'a>(bytes: &'a [u8], one_of: &[u8]) -> Option<&'a [u8]> {
    let (first, rest) = bytes.split_first()?;
    one_of.contains(first).then_some(rest)
}

fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = expect(bytes, b".") else { return Some((0, bytes)) };
    let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at_checked(count)?;
    let digit = |i: usize| digits.get(i).map_or(0, |b| i64::from(b - b'0'));
    (count > 0).then(|| (digit(0) * 100 + digit(1) * 10 + digit(2), rest))
}

/// Minutes east of UTC; the whole rest of the text must be the offset.
fn offset(bytes: &[u8]) -> Option<i64> {
    match bytes.split_first()? {
        (b'Z' | b'z', []) => Some(0),
        (sign @ (b'+' | b'-'), rest) => {
            let (hour, rest) = digits(rest, 2)?;
            let (minute, rest) = digits(expect(rest, b":")?, 2)?;
            let minutes = hour * 60 + minute;
            (rest.is_empty() && hour < 24 && minute < 60).then_some(if *sign == b'-' { -minutes } else { minutes })
        }
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        assert_eq!(parse_rfc3339(text), expected, "{text}");
    }

    #[test]
    fn timestamps_become_milliseconds() {
        check("1970-01-01T00:00:00Z", Some(0));
        check("1970-01-01T01:00:00.5+01:00", Some(500));
        check("1969-12-31T23:59:59.999999Z", Some(-1));
        check("2000-02-29T12:00:00z", Some(951_825_600_000));
        check("2026-11-20T15:00:00-00:30", Some(1_795_188_600_000));
        check("2016-12-31T23:59:60Z", Some(1_483_228_799_000));
        check("0000-01-01T00:00:00Z", Some(-62_167_219_200_000));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "2026",
            "2026-11-20",
            "2026-11-20T15:00:00",
            "2026-13-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-11-20T24:00:00Z",
            "2026-11-20T15:60:00Z",
            "2026-11-20T15:00:61Z",
            "2026-11-20T15:00:00.Z",
            "2026-11-20T15:00:00+25:00",
            "2026-11-20T15:00:00Zx",
            "+026-11-20T15:00:00Z",
            "2026-11-20T15:00:00+1:00",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn formatting_and_parsing_are_inverse() {
        for ms in [0, -1, 951_825_600_000, 1_795_188_600_123, -62_167_219_200_000, 253_402_300_799_999] {
            assert_eq!(parse_rfc3339(&format_rfc3339(ms)), Some(ms));
        }
        assert_eq!(format_rfc3339(i64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
