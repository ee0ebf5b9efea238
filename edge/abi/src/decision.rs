//! A decision: a head of fixed size, then ten bytes for each forwarded flag, in the snapshot's order.

use edge_engine::{
    BUCKETS, Decision, ErrorCode, FlagIndex, FlagOutcome, FlagReason, FlagSelection, ReleaseIndex, Route, RouteReason,
    RuleIndex, Slot, Snapshot, UnitIndex, VariantIndex,
};

use crate::FORMAT;
use crate::reader::{DecodeError, Reader};

const HAS_RULE: u8 = 1;
const HAS_BUCKET: u8 = 2;
const HAS_UNIT: u8 = 4;
const RENEW_PIN: u8 = 8;
/// The error code plus one, in the upper half of a flag's bits.
const ERROR_SHIFT: u8 = 4;

/// Appends a decision.
pub fn encode_decision(decision: &Decision, out: &mut Vec<u8>) {
    let route = &decision.route;
    let bits = bits(route.rule, route.bucket)
        | if route.unit.is_some() { HAS_UNIT } else { 0 }
        | if route.renew_pin { RENEW_PIN } else { 0 };
    let [r0, r1] = route.release.0.to_le_bytes();
    let [u0, u1] = route.rule.map_or(0, |rule| rule.0).to_le_bytes();
    let [b0, b1, b2, b3] = route.bucket.unwrap_or(0).to_le_bytes();
    let [c0, c1, c2, c3] = u32::try_from(decision.flags.len()).unwrap_or(u32::MAX).to_le_bytes();
    let unit = route.unit.map_or(0, |unit| unit.0);
    let (slot, reason) = (route.slot as u8, route.reason as u8);
    out.extend_from_slice(&[FORMAT, slot, reason, bits, r0, r1, u0, u1, b0, b1, b2, b3, unit, c0, c1, c2, c3]);
    put_flags(&decision.flags, out);
}

/// Appends outcomes of flags that both sides know: ten bytes each.
pub fn encode_outcomes(outcomes: &[FlagOutcome], out: &mut Vec<u8>) {
    put_flags(outcomes, out);
}

fn put_flags(outcomes: &[FlagOutcome], out: &mut Vec<u8>) {
    for flag in outcomes {
        let error = flag.error.map_or(0, |error| error as u8 + 1);
        let [v0, v1] = flag.variant.0.to_le_bytes();
        let [u0, u1] = flag.rule.map_or(0, |rule| rule.0).to_le_bytes();
        let [b0, b1, b2, b3] = flag.bucket.unwrap_or(0).to_le_bytes();
        let bits = bits_of(flag) | error << ERROR_SHIFT;
        out.extend_from_slice(&[v0, v1, flag.reason as u8, bits, u0, u1, b0, b1, b2, b3]);
    }
}

fn bits_of(flag: &FlagOutcome) -> u8 {
    bits(flag.rule, flag.bucket)
}

fn bits(rule: Option<RuleIndex>, bucket: Option<u32>) -> u8 {
    (if rule.is_some() { HAS_RULE } else { 0 }) | (if bucket.is_some() { HAS_BUCKET } else { 0 })
}

/// Decodes a decision that a module took for this snapshot. Whatever it says, every index in `out` is
/// one of the snapshot's afterwards; a decision that is not for this snapshot is an error.
pub fn decode_decision(message: &[u8], snapshot: &Snapshot, out: &mut Decision) -> Result<(), DecodeError> {
    let mut reader = Reader::new(message)?;
    let [slot, reason, bits, r0, r1, u0, u1, b0, b1, b2, b3, unit] = reader.array()?;
    let slot = match slot {
        0 => Slot::Blue,
        1 => Slot::Green,
        _ => return Err(DecodeError::new("unknown slot")),
    };
    let release = ReleaseIndex(u16::from_le_bytes([r0, r1]));
    if snapshot.traffic().release(slot) != Some(release) {
        return Err(DecodeError::new("the slot does not hold the release"));
    }
    let unit = (bits & HAS_UNIT != 0).then_some(UnitIndex(unit));
    if unit.is_some_and(|unit| usize::from(unit.0) >= snapshot.unit_sources().len()) {
        return Err(DecodeError::new("unknown unit source"));
    }
    let rule = (bits & HAS_RULE != 0).then_some(RuleIndex(u16::from_le_bytes([u0, u1])));
    if rule.is_some_and(|rule| snapshot.traffic().rule(rule).is_none()) {
        return Err(DecodeError::new("unknown rule of the traffic"));
    }
    out.route = Route {
        slot,
        release,
        reason: route_reason(reason)?,
        rule,
        bucket: bucket(bits, [b0, b1, b2, b3], BUCKETS)?,
        unit,
        renew_pin: bits & RENEW_PIN != 0,
    };
    decode_flags(&mut reader, snapshot, out)
}

fn decode_flags(reader: &mut Reader<'_>, snapshot: &Snapshot, out: &mut Decision) -> Result<(), DecodeError> {
    out.flags.clear();
    if reader.u32()? as usize != snapshot.forwarded().len() {
        return Err(DecodeError::new("not the snapshot's number of forwarded flags"));
    }
    for index in snapshot.forwarded() {
        out.flags.push(decode_flag(reader, snapshot, *index)?);
    }
    Ok(())
}

/// Decodes the outcomes that a module answered for these flags of the snapshot, over what `out` held. Every index in
/// them is one of the snapshot's; anything else is an error.
pub fn decode_outcomes(
    bytes: &[u8],
    snapshot: &Snapshot,
    flags: FlagSelection<'_>,
    out: &mut Vec<FlagOutcome>,
) -> Result<(), DecodeError> {
    let mut reader = Reader::of_body(bytes);
    out.clear();
    for index in flags.indices(snapshot) {
        out.push(decode_flag(&mut reader, snapshot, index)?);
    }
    if reader.is_done() { Ok(()) } else { Err(DecodeError::new("more flags than were asked for")) }
}

#[inline]
fn decode_flag(reader: &mut Reader<'_>, snapshot: &Snapshot, index: FlagIndex) -> Result<FlagOutcome, DecodeError> {
    let [v0, v1, reason, bits, u0, u1, b0, b1, b2, b3] = reader.array()?;
    let variant = VariantIndex(u16::from_le_bytes([v0, v1]));
    let flag = snapshot.flag(index).filter(|flag| flag.variant(variant).is_some());
    let flag = flag.ok_or(DecodeError::new("unknown variant"))?;
    let rule = (bits & HAS_RULE != 0).then_some(RuleIndex(u16::from_le_bytes([u0, u1])));
    if rule.is_some_and(|rule| flag.rule(rule).is_none()) {
        return Err(DecodeError::new("unknown rule of a flag"));
    }
    Ok(FlagOutcome {
        flag: index,
        variant,
        reason: flag_reason(reason)?,
        rule,
        bucket: bucket(bits, [b0, b1, b2, b3], flag.buckets())?,
        error: error_code(bits >> ERROR_SHIFT)?,
    })
}

fn bucket(bits: u8, bytes: [u8; 4], buckets: u32) -> Result<Option<u32>, DecodeError> {
    let bucket = (bits & HAS_BUCKET != 0).then_some(u32::from_le_bytes(bytes));
    if bucket.is_some_and(|bucket| bucket >= buckets) {
        return Err(DecodeError::new("a bucket past the last one"));
    }
    Ok(bucket)
}

fn route_reason(code: u8) -> Result<RouteReason, DecodeError> {
    use RouteReason::{Active, Fallback, Override, Pin, Rule, Split};
    let known = [Override, Rule, Pin, Split, Active, Fallback];
    known.get(usize::from(code)).copied().ok_or(DecodeError::new("unknown routing reason"))
}

fn flag_reason(code: u8) -> Result<FlagReason, DecodeError> {
    use FlagReason::{Default, Disabled, Error, Split, Static, TargetingMatch};
    let known = [Static, Default, TargetingMatch, Split, Disabled, Error];
    known.get(usize::from(code)).copied().ok_or(DecodeError::new("unknown flag reason"))
}

fn error_code(code: u8) -> Result<Option<ErrorCode>, DecodeError> {
    use ErrorCode::{General, PrerequisiteFailed, TargetingKeyMissing};
    let known = [None, Some(TargetingKeyMissing), Some(PrerequisiteFailed), Some(General)];
    known.get(usize::from(code)).copied().ok_or(DecodeError::new("unknown error code"))
}
