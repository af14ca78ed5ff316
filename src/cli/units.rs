//! Times and sizes as people write them.

use std::time::Duration;

/// Reads `500ms`, `30s`, `5m`, `2h`, `7d`; a number alone is seconds.
///
/// # Errors
/// In words, when it is none of these.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a time such as 500ms, 30s, 5m, 2h or 7d");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// Reads `100`, `1k`, `16Ki`, `2M`; k and M are of 1024 like Ki and Mi.
///
/// # Errors
/// In words, when it is none of these.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("'{text}' is not a size such as 100, 16k or 2M");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().map_err(|_| wrong())?;
    let factor = match unit.trim_end_matches(['B', 'b']).trim_end_matches('i') {
        "" => 1,
        "k" | "K" => 1 << 10,
        "m" | "M" => 1 << 20,
        "g" | "G" => 1 << 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

/// A time as [`duration`] reads it, in the largest unit that it is a whole number of.
pub(super) fn shown_millis(millis: u64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let unit = units.iter().find(|(_, of)| millis > 0 && millis.is_multiple_of(*of));
    unit.map_or_else(|| format!("{millis}ms"), |(unit, of)| format!("{}{unit}", millis / of))
}

/// A size for people: `512 B`, `1.5 MiB`.
pub(super) fn shown_bytes(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let mut size = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") }
}

/// Reads `100/s`, `5/m`, `1k/s`, `2M/h` and `100`, which is of a second; gives the time from one to the next. k and M are of 1000.
///
/// # Errors
/// In words, when it is none of these, or so many that there is no time between them.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is not a rate such as 100, 100/s, 5/m or 1k/s");
    let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    let digits = count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len());
    let (number, unit) = count.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1000,
        "M" => 1_000_000,
        _ => return Err(wrong()),
    };
    let all = number.checked_mul(factor).ok_or_else(wrong)?;
    let nanos = (seconds * 1_000_000_000_u64).checked_div(all).filter(|nanos| *nanos > 0);
    nanos.map(Duration::from_nanos).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        assert!(duration("x").is_err() && duration("5y").is_err() && duration("").is_err());
        assert_eq!((bytes("100"), bytes("16Ki"), bytes("2MB")), (Ok(100), Ok(16_384), Ok(2 << 20)));
        assert!(bytes("2x").is_err() && bytes("k").is_err());
    }

    #[test]
    fn times_and_sizes_are_shown_as_people_write_them() {
        let times = [0, 1, 1500, 90_000, 7_200_000, 604_800_000].map(shown_millis);
        assert_eq!(times, ["0ms", "1ms", "1500ms", "90s", "2h", "7d"]);
        let sizes = [0, 1023, 1024, 1_600_000, u64::MAX].map(shown_bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "16384.0 PiB"]);
    }

    #[test]
    fn rates() {
        for (text, millis) in
            [("100/s", 10), ("100", 10), ("5/m", 12_000), ("1k/s", 1), ("2/h", 1_800_000)]
        {
            assert_eq!(interval(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        assert_eq!(interval("1M"), Ok(Duration::from_micros(1)));
        for text in ["", "0", "k", "5/d", "5/", "1x/s", "-1", "9000M/s", "99999999999999999999"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
