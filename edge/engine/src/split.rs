//! A split: which variant owns which buckets.

use crate::bucket::BUCKETS;
use crate::decision::VariantIndex;
use crate::flagd::Hashed;
use crate::limits::{MAX_RANGES, MAX_WEIGHTS};
use crate::problem::Problems;
use crate::snapshot::wire::RangeWire;

/// Half-open bucket ranges in order, each with its owner. They tile `0..BUCKETS`, or with the bucketing of
/// flagd `0..` the sum of its weights; only [`Split::try_new`] makes one.
#[derive(Debug)]
pub(crate) struct Split {
    /// One past the last bucket of each range, ascending; the last is the number of buckets.
    ranges: Box<[(u32, VariantIndex)]>,
    /// How units get their buckets, unless by the flag's prepared hashes.
    pub(crate) flagd: Option<Box<Hashed>>,
}

impl Split {
    const FEW: usize = 8;

    /// Checks that the ranges tile all buckets. `variant` resolves a key, or reports.
    pub(crate) fn try_new(
        wire: &[RangeWire],
        flagd: Option<Hashed>,
        problems: &mut Problems,
        mut variant: impl FnMut(&mut Problems, &RangeWire) -> Option<VariantIndex>,
    ) -> Option<Self> {
        if problems.over("ranges in a split", wire.len(), MAX_RANGES) {
            return None;
        }
        let most = if flagd.is_some() { MAX_WEIGHTS } else { BUCKETS };
        let mut ranges = Vec::with_capacity(wire.len());
        let mut next = 0;
        for (i, range) in wire.iter().enumerate() {
            problems.at(i, |problems| {
                if range.from != next || range.to <= range.from || range.to > most {
                    problems.add(
                        "split_does_not_tile",
                        format!(
                            "the range {}..{} should start at {next} and end above it, at most at {most}",
                            range.from, range.to
                        ),
                    );
                }
                next = range.to;
                if let Some(index) = problems.at("variant", |problems| variant(problems, range)) {
                    ranges.push((range.to, index));
                }
            });
        }
        if next != BUCKETS && flagd.is_none() {
            problems.add("split_does_not_tile", format!("the ranges end at {next} and should end at {BUCKETS}"));
        }
        if wire.is_empty() && flagd.is_some() {
            problems.add("split_does_not_tile", "a split has at least one range");
        }
        (ranges.len() == wire.len()).then(|| Self { ranges: ranges.into(), flagd: flagd.map(Box::new) })
    }

    /// The owner of a bucket.
    #[inline]
    pub(crate) fn owner(&self, bucket: u32) -> VariantIndex {
        // Most splits have two or three ranges, for which a search by halves costs more than looking.
        let range = if self.ranges.len() <= Self::FEW {
            self.ranges.iter().find(|(end, _)| bucket < *end)
        } else {
            self.ranges.get(self.position(bucket))
        };
        range.map_or(VariantIndex(0), |(_, variant)| *variant)
    }

    /// The number of buckets.
    pub(crate) fn total(&self) -> u32 {
        self.ranges.last().map_or(BUCKETS, |(end, _)| *end)
    }

    /// The range that a bucket is in.
    pub(crate) fn range(&self, bucket: u32) -> std::ops::Range<u32> {
        let position = self.position(bucket);
        let end = |at: usize| self.ranges.get(at).map(|(end, _)| *end);
        position.checked_sub(1).and_then(end).unwrap_or(0)..end(position).unwrap_or(self.total())
    }

    fn position(&self, bucket: u32) -> usize {
        self.ranges.partition_point(|(end, _)| *end <= bucket)
    }
}
