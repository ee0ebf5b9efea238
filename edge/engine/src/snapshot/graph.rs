//! References among segments and flags: no cycles, bounded depth, bounded work.
//!
//! Evaluation follows references recursively and repeats shared parts, so both the longest chain and
//! the sum over all paths are computed here, once, without recursion.

use crate::condition::{Demand, Reference};
use crate::decision::FlagIndex;
use crate::limits::{MAX_COST, MAX_DEPTH};
use crate::problem::Problems;

/// What evaluating something takes, references included.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Total {
    pub(super) depth: usize,
    pub(super) cost: u64,
}

/// The demands of all segments and flags.
pub(super) struct Graph<'g> {
    pub(super) segments: &'g [Demand],
    pub(super) flags: &'g [Demand],
}

/// The graph with every total known.
pub(super) struct Totals {
    segments: usize,
    of: Vec<Total>,
}

impl Graph<'_> {
    /// Totals of all nodes, or `None` after reporting cycles through `name`.
    pub(super) fn totals(&self, problems: &mut Problems, name: impl Fn(Reference) -> String) -> Option<Totals> {
        let nodes: Vec<&Demand> = self.segments.iter().chain(self.flags).collect();
        let mut waits_for: Vec<usize> = nodes.iter().map(|demand| demand.references.len()).collect();
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        for (user, demand) in nodes.iter().enumerate() {
            for reference in &demand.references {
                if let Some(list) = users.get_mut(self.node(*reference)) {
                    list.push(user);
                }
            }
        }
        let mut totals = Totals { segments: self.segments.len(), of: vec![Total::default(); nodes.len()] };
        let mut ready: Vec<usize> = (0..nodes.len()).filter(|node| waits_for.get(*node) == Some(&0)).collect();
        let mut done = 0;
        while let Some(node) = ready.pop() {
            done += 1;
            let total = nodes.get(node).map_or_else(Total::default, |demand| totals.with(demand));
            if let Some(slot) = totals.of.get_mut(node) {
                *slot = total;
            }
            for user in users.get(node).into_iter().flatten() {
                if let Some(count) = waits_for.get_mut(*user) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(*user);
                    }
                }
            }
        }
        if done < nodes.len() {
            self.report_cycles(&nodes, &waits_for, problems, name);
            return None;
        }
        Some(totals)
    }

    fn node(&self, reference: Reference) -> usize {
        match reference {
            Reference::Segment(index) => index as usize,
            Reference::Flag(index) => self.segments.len() + index.0 as usize,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "limits.rs keeps both counts far below 2^32")]
    fn reference(&self, node: usize) -> Reference {
        match node.checked_sub(self.segments.len()) {
            None => Reference::Segment(node as u32),
            Some(flag) => Reference::Flag(FlagIndex(flag as u32)),
        }
    }

    /// Follows from each node that waits for ever the first reference that does so too. A walk that
    /// meets itself closes a cycle; one that meets an earlier walk leads to a cycle reported already.
    fn report_cycles(
        &self,
        nodes: &[&Demand],
        waits_for: &[usize],
        problems: &mut Problems,
        name: impl Fn(Reference) -> String,
    ) {
        let stuck = |node: usize| waits_for.get(node).is_some_and(|count| *count > 0);
        let next = |node: usize| {
            let references = nodes.get(node).into_iter().flat_map(|demand| &demand.references);
            references.map(|reference| self.node(*reference)).find(|node| stuck(*node))
        };
        // The walk that came by, counted from 1; 0 = none.
        let mut walked = vec![0_usize; nodes.len()];
        for start in (0..nodes.len()).filter(|node| stuck(*node)) {
            let (walk, mut at, mut path) = (start + 1, start, Vec::new());
            while let Some(mark) = walked.get_mut(at).filter(|mark| **mark == 0) {
                *mark = walk;
                path.push(at);
                let Some(node) = next(at) else { break };
                at = node;
            }
            if walked.get(at) == Some(&walk) {
                let cycle: Vec<usize> = path.into_iter().skip_while(|node| *node != at).collect();
                self.report(&cycle, problems, &name);
            }
        }
    }

    fn report(&self, cycle: &[usize], problems: &mut Problems, name: impl Fn(Reference) -> String) {
        const NAMED: usize = 10;
        let Some(first) = cycle.first() else { return };
        let first = self.reference(*first);
        let mut names: Vec<String> = cycle.iter().take(NAMED).map(|node| name(self.reference(*node))).collect();
        if cycle.len() > NAMED {
            names.push(format!("{} more", cycle.len() - NAMED));
        }
        names.push(name(first));
        let object = match first {
            Reference::Segment(_) => "segments",
            Reference::Flag(_) => "flags",
        };
        let name = name(first);
        let key: Box<str> = name.split_once(' ').map_or(name.as_str(), |(_, key)| key).into();
        problems.at(object, |p| {
            p.at(key, |p| p.add("reference_cycle", format!("these refer to each other: {}", names.join(" → "))));
        });
    }
}

impl Totals {
    /// The total of something that has this demand.
    pub(super) fn with(&self, demand: &Demand) -> Total {
        let inner = demand.references.iter().filter_map(|reference| match reference {
            Reference::Segment(index) => self.of.get(*index as usize),
            Reference::Flag(index) => self.of.get(self.segments + index.0 as usize),
        });
        let mut total = Total { depth: demand.depth, cost: demand.cost.saturating_add(1) };
        for part in inner {
            total.depth = total.depth.max(demand.depth.saturating_add(part.depth));
            total.cost = total.cost.saturating_add(part.cost);
        }
        total
    }

    /// The total of a flag.
    pub(super) fn flag(&self, index: FlagIndex) -> Total {
        self.of.get(self.segments + index.0 as usize).copied().unwrap_or_default()
    }

    /// The total of a segment.
    pub(super) fn segment(&self, index: usize) -> Total {
        self.of.get(index).copied().unwrap_or_default()
    }
}

impl Total {
    /// Reports what exceeds the caps.
    pub(super) fn check(self, what: &str, problems: &mut Problems) {
        if self.depth > MAX_DEPTH {
            problems.add(
                "limit_exceeded",
                format!(
                    "{what} nests {} levels deep with all it refers to, at most {MAX_DEPTH} are allowed",
                    self.depth
                ),
            );
        }
        if self.cost > MAX_COST {
            problems.add("limit_exceeded", format!("{what} takes up to {} steps, at most {MAX_COST} are allowed; patterns and long references cost most", self.cost));
        }
    }
}
