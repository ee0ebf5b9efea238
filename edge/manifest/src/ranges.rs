//! `ranges` beside a `split`: which buckets each variant owns, where that is not simply one after the other.
//!
//! A control plane that changed the weights of a split exports them, because laying the shares out anew would move
//! units. They have to say the same shares as the split.

use edge_engine::{VariantKey, wire::RangeWire};

use super::{
    fields::{self, Fields},
    node::{Entry, Node},
    report::Report,
    share::WHOLE,
};

/// Reads `ranges` and compares them with the split; `None` after a complaint.
pub(super) fn ranges(entry: &Entry, split: &[RangeWire], report: &mut Report) -> Option<Vec<RangeWire>> {
    let items = fields::list(&entry.value, "\"ranges\"", report);
    let ranges: Vec<RangeWire> = items.iter().filter_map(|item| range(item, report)).collect();
    if ranges.len() < items.len() {
        return None;
    }
    let mut next = 0;
    for range in &ranges {
        if range.from != next || range.to <= range.from {
            break;
        }
        next = range.to;
    }
    if next != WHOLE || ranges.last().is_none_or(|last| last.to != WHOLE) {
        let detail = format!("ranges follow each other from 0 to {WHOLE} without gap or overlap");
        report.add(entry.place(), "split_does_not_tile", detail);
        return None;
    }
    let share = |ranges: &[RangeWire], variant: &VariantKey| -> u32 {
        ranges.iter().filter(|range| range.variant == *variant).map(|range| range.to - range.from).sum()
    };
    let other = ranges.iter().chain(split).find(|range| share(&ranges, &range.variant) != share(split, &range.variant));
    if let Some(other) = other {
        let detail = format!("the ranges of \"{}\" are not its share of the split", other.variant);
        report
            .add(entry.place(), "ranges_disagree", detail)
            .help("leave \"ranges\" out after a change of shares".into());
        return None;
    }
    Some(ranges)
}

fn range(node: &Node, report: &mut Report) -> Option<RangeWire> {
    let mut fields = Fields::of(node, node.at, "a range", report)?;
    let variant = fields.required("variant", report);
    let variant = variant.and_then(|entry| fields::name(&entry.value, "a variant", VariantKey::new, report));
    let from = fields::integer(fields.required("from", report), report);
    let to = fields::integer(fields.required("to", report), report);
    fields.done(report);
    Some(RangeWire { variant: variant?, from: from?, to: to? })
}
