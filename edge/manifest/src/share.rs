//! Percentages as integers: one is 0.0001 %, a million is everything.
//!
//! The literal's digits are read as they stand, so 0.1 + 0.2 is 0.3 and nothing is rounded.

use edge_engine::{VariantKey, wire::RangeWire};

/// Everything: 100 %.
pub(super) const WHOLE: u32 = 1_000_000;

/// Why a literal is not a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InvalidShare {
    NotANumber,
    TooFine,
    TooLarge,
}

/// Parses `0` to `100` with up to four decimals.
pub(super) fn parse(text: &str) -> Result<u32, InvalidShare> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(InvalidShare::NotANumber),
        None => (text, ""),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(InvalidShare::NotANumber);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 4 {
        return Err(InvalidShare::TooFine);
    }
    let whole: u32 = whole.parse().ok().filter(|whole| *whole <= 100).ok_or(InvalidShare::TooLarge)?;
    let fraction = format!("{fraction:0<4}").parse::<u32>().map_err(|_| InvalidShare::NotANumber)?;
    let share = whole * 10_000 + fraction;
    if share > WHOLE { Err(InvalidShare::TooLarge) } else { Ok(share) }
}

/// The percentage as people write it: the shortest text that parses to the same share.
pub fn display(share: u32) -> String {
    let text = format!("{}.{:04}", share / 10_000, share % 10_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Lays shares or weights side by side. Who has none gets no range.
pub(super) fn tile(shares: impl IntoIterator<Item = (VariantKey, u32)>) -> Vec<RangeWire> {
    let mut from = 0;
    let mut ranges = Vec::new();
    for (variant, share) in shares {
        if share > 0 {
            ranges.push(RangeWire { variant, from, to: from + share });
            from += share;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<u32, InvalidShare>) {
        assert_eq!(parse(text), expected, "{text}");
        if let Ok(share) = expected {
            assert_eq!(parse(&display(share)), expected, "{} does not read back", display(share));
        }
    }

    #[test]
    fn digits_are_exact() {
        check("0", Ok(0));
        check("5", Ok(50_000));
        check("0.0001", Ok(1));
        check("33.3333", Ok(333_333));
        check("0.1", Ok(1_000));
        check("12.50000000", Ok(125_000));
        check("100", Ok(WHOLE));
        check("100.0", Ok(WHOLE));
    }

    #[test]
    fn what_is_not_a_share_is_refused() {
        check("", Err(InvalidShare::NotANumber));
        check("-1", Err(InvalidShare::NotANumber));
        check("5%", Err(InvalidShare::NotANumber));
        check("1e1", Err(InvalidShare::NotANumber));
        check("5.", Err(InvalidShare::NotANumber));
        check(".5", Err(InvalidShare::NotANumber));
        check("0.00001", Err(InvalidShare::TooFine));
        check("100.0001", Err(InvalidShare::TooLarge));
        check("101", Err(InvalidShare::TooLarge));
        check("99999999999999", Err(InvalidShare::TooLarge));
    }

    #[test]
    fn three_thirds_tile_without_a_gap() {
        let variant = |key: &str| VariantKey::new(key).unwrap();
        let ranges =
            tile([(variant("a"), 333_333), (variant("none"), 0), (variant("b"), 333_333), (variant("c"), 333_334)]);
        let bounds: Vec<_> = ranges.iter().map(|range| (range.variant.as_str(), range.from, range.to)).collect();
        assert_eq!(bounds, [("a", 0, 333_333), ("b", 333_333, 666_666), ("c", 666_666, WHOLE)]);
    }
}
