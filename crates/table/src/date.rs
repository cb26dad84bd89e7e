//! Dates as text and as seconds since 1970-01-01T00:00:00 (UTC where the text names no zone).

use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp};

/// The name of ISO 8601 among formats: `2024-02-29`, `2024-02-29 13:45:00`,
/// `2024-02-29T13:45:00.5+01:00`.
pub(crate) const ISO: &str = "iso";

/// Days as they are written, the likeliest first; strptime's letters.
const DAYS: [&str; 25] = [
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%m-%d-%Y",
    "%d-%m-%Y",
    "%Y-%m-%d",
    "%Y.%m.%d",
    "%d %b %Y",
    "%d-%b-%Y",
    "%d/%b/%Y",
    "%b %d, %Y",
    "%b %d %Y",
    "%d %B %Y",
    "%B %d, %Y",
    "%a, %d %b %Y",
    "%d.%m.%y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%y/%m/%d",
    "%m-%d-%y",
    "%d-%m-%y",
    "%y-%m-%d",
    "%d-%b-%y",
    "%d %b %y",
];

/// Times of day behind a day.
const TIMES: [&str; 9] = [
    "",
    " %H:%M",
    " %H:%M:%S",
    " %H:%M:%S%.f",
    " %I:%M %p",
    " %I:%M:%S %p",
    "T%H:%M:%S",
    ":%H:%M:%S",
    " %H:%M:%S %z",
];

/// Formats that are tried on a column of texts, the likeliest first: ISO, days, days with a time,
/// times of day alone.
static FORMATS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let days = TIMES.iter().flat_map(|time| DAYS.iter().map(move |day| format!("{day}{time}")));
    let times = ["%H:%M", "%H:%M:%S", "%H:%M:%S%.f", "%I:%M %p", "%I:%M:%S %p"].map(String::from);
    std::iter::once(ISO.to_owned()).chain(days).chain(times).collect()
});

/// Texts of a date that is not there, in exports of databases.
const NO_DATES: [&str; 3] = ["0000-00-00", "0000-00-00 00:00:00", "00/00/0000"];

/// The longest text that is taken for a date.
const LONGEST: usize = 40;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// How a column writes its dates.
#[derive(Debug, PartialEq)]
pub(crate) struct DateFormat {
    pub(crate) format: &'static str,
    /// Another format that reads all dates, some of them as other days.
    pub(crate) other: Option<&'static str>,
}

/// The format that reads all texts.
pub(crate) fn infer_format<'a>(
    texts: &(impl Iterator<Item = &'a str> + Clone),
) -> Option<DateFormat> {
    let first = texts.clone().next().filter(|text| is_likely(text))?;
    let reads = |format: &str| texts.clone().all(|text| parse(text, format).is_some());
    let likely = |format: &&str| parse(first, format).is_some() && reads(format);
    let mut formats = FORMATS.iter().map(String::as_str);
    let format = formats.find(likely)?;
    let differs = |other: &&str| texts.clone().any(|t| parse(t, other) != parse(t, format));
    // Only the order of the numbers is open: names and ISO say what they mean.
    let open = format != ISO && !format.contains(['b', 'B']);
    let other = formats.filter(likely).find(differs).filter(|_| open);
    Some(DateFormat { format, other })
}

/// The format that reads most texts and that at least six in ten of them are written in.
pub(crate) fn infer_most(texts: &[&str]) -> Option<&'static str> {
    let sample: Vec<&str> =
        texts.iter().copied().step_by(texts.len() / SAMPLE + 1).filter(|t| is_likely(t)).collect();
    let all = texts.len().div_ceil(texts.len() / SAMPLE + 1);
    if sample.len() * 10 < all * 6 {
        return None;
    }
    let reads = |format: &str| sample.iter().filter(|text| parse(text, format).is_some()).count();
    let formats = FORMATS.iter().map(|format| (reads(format), format.as_str()));
    let (count, format) = formats.rev().max_by_key(|(count, _)| *count)?;
    (count * 10 >= all * 6).then_some(format)
}

/// Texts that are looked at where not all are dates.
const SAMPLE: usize = 400;

/// Whether a text stands for a date that is not there.
pub(crate) fn is_no_date(text: &str) -> bool {
    NO_DATES.contains(&text)
}

/// Whether a text could be a date at all.
fn is_likely(text: &str) -> bool {
    (4..=LONGEST).contains(&text.len())
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.contains(['-', '/', '.', ':', ' '])
        && crate::number::parse_number(text.as_bytes()).is_none()
}

/// Reads a date by a format.
///
/// Years of two digits are `%y`'s alone: 69 to 99 are 1969 to 1999, 00 to 68 are 2000 to 2068, as
/// in POSIX.
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
    let found = jiff::fmt::strtime::parse(format, text).ok()?;
    if format.contains("%Y") && found.year().is_some_and(|year| year.abs() < 100) {
        return None;
    }
    if found.offset().is_some() {
        return found.to_timestamp().ok().map(|time| time.as_duration().as_secs_f64());
    }
    if let Ok(time) = found.to_datetime() {
        return Some(seconds(time));
    }
    // A time of day; `4:3` is a ratio.
    let minutes = text.split(':').nth(1)?.bytes().take_while(u8::is_ascii_digit).count();
    if found.year().is_some() || found.month().is_some() || minutes != 2 {
        return None;
    }
    found.to_time().ok().map(|time| seconds(EPOCH.date().to_datetime(time)))
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
pub(crate) const PARTS: usize = 8;

/// The names of the parts.
pub(crate) const PART_NAMES: [&str; PARTS] =
    ["year", "month", "day", "weekday", "hour", "hour_sin", "hour_cos", "days_since_epoch"];

/// Year, month 1 to 12, day 1 to 31, weekday 0 (Monday) to 6, hour with its fraction, the same as a
/// point on a circle, so that 23 o'clock lies beside 0, days since 1970.
pub(crate) fn parts(seconds: f64) -> Option<[f64; PARTS]> {
    let time = civil(seconds)?;
    let second = f64::from(time.second()) + f64::from(time.subsec_nanosecond()) * 1e-9;
    let hour = f64::from(time.hour()) + f64::from(time.minute()) / 60.0 + second / 3600.0;
    let (sin, cos) = (hour * (std::f64::consts::TAU / 24.0)).sin_cos();
    Some([
        f64::from(time.year()),
        f64::from(time.month()),
        f64::from(time.day()),
        f64::from(time.weekday().to_monday_zero_offset()),
        hour,
        sin,
        cos,
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
        let infer = |texts: &[&'static str]| {
            infer_format(&texts.iter().copied()).map(|found| (found.format, found.other))
        };
        for (texts, found) in [
            (&["2024-01-31", "2024-02-01"][..], Some((ISO, None))),
            (&["01/02/2024", "03/04/2024"], Some(("%m/%d/%Y", Some("%d/%m/%Y")))),
            (&["01/02/2024", "13/04/2024"], Some(("%d/%m/%Y", None))),
            (&["01/13/2024", "03/04/2024"], Some(("%m/%d/%Y", None))),
            (
                &["06/10/2021 12:46:00 PM", "06/24/2021 04:22:00 am"],
                Some(("%m/%d/%Y %I:%M:%S %p", None)),
            ),
            (&["16.04.2022 17:48:00"], Some(("%d.%m.%Y %H:%M:%S", None))),
            (&["2021/10/28 01:58"], Some(("%Y/%m/%d %H:%M", None))),
            (&["24/Feb/2024:13:45:00"], Some(("%d/%b/%Y:%H:%M:%S", None))),
            (&["Sat, 24 Feb 2024 13:45:00 +0100"], Some(("%a, %d %b %Y %H:%M:%S %z", None))),
            (&["24-FEB-24", "01-MAR-99"], Some(("%d-%b-%y", None))),
            (&["31.12.68", "01.02.69"], Some(("%d.%m.%y", None))),
            (&["98-12-31", "99-01-01"], Some(("%y-%m-%d", None))),
            (&["23:59", "00:01"], Some(("%H:%M", None))),
            (&["1:05 pm"], Some(("%I:%M %p", None))),
            (&["red", "2024-01-01"], None),
            (&["16:9", "4:3"], None),
            (&["1.5", "2024"], None),
            (&["192.168.1.1"], None),
            (&[], None),
        ] {
            assert_eq!(infer(texts), found, "{texts:?}");
        }
    }

    #[test]
    fn years_of_two_digits_follow_posix() {
        let year = |text, format| parts(parse(text, format)?).map(|parts| parts[0]);
        for (text, of) in
            [("01.02.69", 1969.0), ("01.02.99", 1999.0), ("01.02.00", 2000.0), ("01.02.68", 2068.0)]
        {
            assert_eq!(year(text, "%d.%m.%y"), Some(of), "{text}");
            assert_eq!(year(text, "%d.%m.%Y"), None, "{text}");
        }
        assert_eq!(year("01.02.1969", "%d.%m.%y"), None);
    }

    #[test]
    fn times_of_day_are_kept() {
        let hour = |text, format| parts(parse(text, format)?).map(|parts| parts[4]);
        for (text, format, of) in [
            ("06/10/2021 12:30:00 AM", "%m/%d/%Y %I:%M:%S %p", 0.5),
            ("06/10/2021 12:30:00 PM", "%m/%d/%Y %I:%M:%S %p", 12.5),
            ("06/10/2021 18:00", "%m/%d/%Y %R", 18.0),
            ("18:45", "%H:%M", 18.75),
            ("2021-06-10 00:00:36", ISO, 0.01),
        ] {
            assert_eq!(hour(text, format), Some(of), "{text}");
        }
        let circle = |text| parts(parse(text, "%H:%M").unwrap()).unwrap();
        let (late, early, noon) = (circle("23:30"), circle("00:30"), circle("12:00"));
        let apart = |a: [f64; PARTS], b: [f64; PARTS]| (a[5] - b[5]).hypot(a[6] - b[6]);
        assert!((apart(late, early) - 0.261).abs() < 1e-3 && apart(late, noon) > 1.9);
    }

    #[test]
    fn parts_of_a_leap_day() {
        let found = parts(1_709_208_000.0).unwrap();
        assert_eq!((&found[..5], found[7]), (&[2024.0, 2.0, 29.0, 3.0, 12.0][..], 19_782.5));
        assert!(found[5].abs() < 1e-15 && found[6] == -1.0);
        assert!(parts(f64::NAN).is_none() && parts(1e300).is_none());
    }
}
