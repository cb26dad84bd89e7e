//! Dates as text and as seconds since 1970-01-01T00:00:00 (UTC where the text names no zone).

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp};

/// The name of ISO 8601 among formats: `2024-02-29`, `2024-02-29 13:45:00`,
/// `2024-02-29T13:45:00.5+01:00`.
pub(crate) const ISO: &str = "iso";

/// Formats that are tried on a column of texts, the likeliest first; strptime's letters.
const FORMATS: [&str; 12] = [
    ISO,
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%m-%d-%Y",
    "%d-%m-%Y",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%d %b %Y",
    "%b %d, %Y",
];

/// Pairs that only a day above 12 tells apart.
const AMBIGUOUS: [(&str, &str); 3] =
    [("%m/%d/%Y", "%d/%m/%Y"), ("%m-%d-%Y", "%d-%m-%Y"), ("%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M")];

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// The format that reads all texts, and another that would as well.
pub(crate) fn infer_format<'a>(
    texts: &(impl Iterator<Item = &'a str> + Clone),
) -> Option<(&'static str, Option<&'static str>)> {
    let reads = |format: &str| {
        let mut any = false;
        texts.clone().all(|text| {
            any = true;
            parse(text, format).is_some()
        }) && any
    };
    let format = *FORMATS.iter().find(|format| reads(format))?;
    let other = AMBIGUOUS.iter().find(|pair| pair.0 == format).map(|pair| pair.1);
    Some((format, other.filter(|other| reads(other))))
}

/// Reads a date by a format.
pub(crate) fn parse(text: &str, format: &str) -> Option<f64> {
    let text = text.trim();
    if format == ISO {
        // Numbers alone are never dates, and most texts are told from dates by their first four
        // characters.
        let year = text.as_bytes().get(..4)?;
        if !year.iter().all(u8::is_ascii_digit) || text.len() < 8 || !text.contains('-') {
            return None;
        }
        if let Ok(time) = text.parse::<Timestamp>() {
            return Some(time.as_duration().as_secs_f64());
        }
        return text.parse::<DateTime>().ok().map(seconds);
    }
    if format.contains("%H") {
        return DateTime::strptime(format, text).ok().map(seconds);
    }
    Date::strptime(format, text).ok().map(|date| seconds(date.at(0, 0, 0, 0)))
}

fn seconds(time: DateTime) -> f64 {
    time.duration_since(EPOCH).as_secs_f64()
}

fn civil(seconds: f64) -> Option<DateTime> {
    // Microseconds, as stored in files: a double of seconds is good to a quarter of one.
    let micros = (seconds * 1e6).round();
    if micros.is_nan() || micros.abs() >= 9e18 {
        return None;
    }
    EPOCH.checked_add(SignedDuration::from_micros(micros as i64)).ok()
}

/// Seconds as ISO text, without the time at midnight; "" for NaN.
pub(crate) fn format_seconds(seconds: f64) -> String {
    match civil(seconds) {
        Some(time) if time.time() == jiff::civil::Time::midnight() => time.date().to_string(),
        Some(time) => time.to_string(),
        None => String::new(),
    }
}

/// The number of parts of a date.
pub(crate) const PARTS: usize = 6;

/// The names of the parts.
pub(crate) const PART_NAMES: [&str; PARTS] =
    ["year", "month", "day", "weekday", "hour", "days_since_epoch"];

/// Year, month 1 to 12, day 1 to 31, weekday 0 (Monday) to 6, hour with its fraction, days since
/// 1970.
pub(crate) fn parts(seconds: f64) -> Option<[f64; PARTS]> {
    let time = civil(seconds)?;
    let hour = f64::from(time.hour()) + f64::from(time.minute()) / 60.0;
    Some([
        f64::from(time.year()),
        f64::from(time.month()),
        f64::from(time.day()),
        f64::from(time.weekday().to_monday_zero_offset()),
        hour,
        seconds / 86_400.0,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_dates() {
        assert_eq!(parse("1970-01-02", ISO), Some(86_400.0));
        assert_eq!(parse("1970-01-01T00:00:01.5Z", ISO), Some(1.5));
        assert_eq!(parse("1970-01-01 01:00:00+01:00", ISO), Some(0.0));
        assert_eq!(parse("2024-02-29 12:00", ISO), Some(1_709_208_000.0));
        assert_eq!(parse("02.01.1970", "%d.%m.%Y"), Some(86_400.0));
        for bad in ["", "2024", "2023-02-29", "1.5", "20240229", "2024-02", "älter-9"] {
            assert_eq!(parse(bad, ISO), None, "{bad}");
        }
        assert_eq!(format_seconds(1_709_208_000.0), "2024-02-29T12:00:00");
        assert_eq!(format_seconds(-86_400.0), "1969-12-31");
        assert_eq!(format_seconds(f64::NAN), "");
    }

    #[test]
    fn finds_formats_and_what_they_leave_open() {
        let infer = |texts: &[&'static str]| infer_format(&texts.iter().copied());
        assert_eq!(infer(&["2024-01-31", "2024-02-01"]), Some((ISO, None)));
        assert_eq!(infer(&["01/02/2024", "03/04/2024"]), Some(("%m/%d/%Y", Some("%d/%m/%Y"))));
        assert_eq!(infer(&["01/02/2024", "13/04/2024"]), Some(("%d/%m/%Y", None)));
        assert_eq!(infer(&["01/13/2024", "03/04/2024"]), Some(("%m/%d/%Y", None)));
        assert_eq!(infer(&["red", "2024-01-01"]), None);
        assert_eq!(infer(&[]), None);
    }

    #[test]
    fn parts_of_a_leap_day() {
        assert_eq!(parts(1_709_208_000.0).unwrap(), [2024.0, 2.0, 29.0, 3.0, 12.0, 19_782.5]);
        assert!(parts(f64::NAN).is_none() && parts(1e300).is_none());
    }
}
