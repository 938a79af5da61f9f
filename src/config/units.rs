//! Durations and sizes as people write them: a whole number and a unit, nothing between.
//!
//! Never: a default unit. A number alone is a complaint, because "30" has been seconds to one reader and milliseconds to the
//! next. What is written here is read here again.

use std::time::Duration;

/// Why a text is no duration or no size. Never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misread {
    /// Does not begin with a digit.
    NoNumber,
    /// A number, and nothing behind it.
    NoUnit,
    /// Something else stands behind the number.
    UnknownUnit,
    /// More than the type holds.
    TooLarge,
}

/// Reads `250ms`, `30s`, `5m`, `24h` or `30d`.
pub fn parse_duration(text: &str) -> Result<Duration, Misread> {
    let millis = parse(text, DURATIONS)?;
    Ok(Duration::from_millis(millis))
}

/// Reads `512B`, `64KiB`, `256MiB` or `1GiB`.
pub fn parse_size(text: &str) -> Result<u64, Misread> {
    parse(text, SIZES)
}

/// Writes a duration of whole milliseconds in the largest unit that needs no fraction, hours at most.
pub fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    show(millis, &DURATIONS[1..])
}

/// Writes a size in the largest unit that needs no fraction.
pub fn show_size(bytes: u64) -> String {
    show(bytes, SIZES)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Result<u64, Misread> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(Misread::NoNumber);
    }
    if unit.is_empty() {
        return Err(Misread::NoUnit);
    }
    let (_, worth) = units.iter().find(|(name, _)| *name == unit).ok_or(Misread::UnknownUnit)?;
    let number: u64 = number.parse().map_err(|_| Misread::TooLarge)?;
    number.checked_mul(*worth).ok_or(Misread::TooLarge)
}

fn show(amount: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, worth): &&(&str, u64)| amount > 0 && amount.is_multiple_of(*worth);
    match units.iter().find(fits) {
        Some((name, worth)) => format!("{}{name}", amount / worth),
        None => format!("{amount}{}", units.last().map_or("", |(name, _)| name)),
    }
}

/// In milliseconds, largest first.
const DURATIONS: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// In bytes, largest first.
const SIZES: &[(&str, u64)] = &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

// === impl Misread ===

impl Misread {
    /// What is wrong, to be read behind the name of a key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoNumber => "does not begin with a whole number",
            Self::NoUnit => "has no unit",
            Self::UnknownUnit => "has an unknown unit",
            Self::TooLarge => "is too large",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        for (text, millis) in
            [("0s", 0), ("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("24h", 86_400_000), ("30d", 2_592_000_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, why) in [
            ("", Misread::NoNumber),
            ("s", Misread::NoNumber),
            ("-1s", Misread::NoNumber),
            ("+1s", Misread::NoNumber),
            ("30", Misread::NoUnit),
            ("30 s", Misread::UnknownUnit),
            ("1.5s", Misread::UnknownUnit),
            ("1m30s", Misread::UnknownUnit),
            ("30S", Misread::UnknownUnit),
            ("30sec", Misread::UnknownUnit),
            ("99999999999999999999s", Misread::TooLarge),
            ("18446744073709551615h", Misread::TooLarge),
        ] {
            assert_eq!(parse_duration(text), Err(why), "{text}");
        }
    }

    #[test]
    fn a_size_counts_in_powers_of_1024_and_says_so() {
        for (text, bytes) in [("0B", 0), ("512B", 512), ("64KiB", 65_536), ("256MiB", 268_435_456), ("1GiB", 1 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for (text, why) in [
            ("64KB", Misread::UnknownUnit),
            ("64k", Misread::UnknownUnit),
            ("64", Misread::NoUnit),
            ("KiB", Misread::NoNumber),
        ] {
            assert_eq!(parse_size(text), Err(why), "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_the_same() {
        for millis in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000, u64::MAX] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
        for bytes in [0, 1, 1_023, 1_024, 1_536, 1 << 20, 1 << 40, u64::MAX] {
            assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }
        assert_eq!(show_duration(Duration::from_secs(120)), "2m");
        assert_eq!(show_size(4 << 20), "4MiB");
    }
}
