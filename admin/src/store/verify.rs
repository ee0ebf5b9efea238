//! Whether the audit is what was written: walks the chain and names the first entry that is not.

use super::audit::{BEGINNING, hash};
use super::error::StoreError;
use super::read::View;
use super::rows::Audit;

/// Entries that are in memory at a time.
const PAGE: u32 = 256;

/// What a walk along the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditVerdict {
    /// How many entries are good, from the first on.
    pub entries: i64,
    /// The hash of the last good one: note it elsewhere, and hand it over the next time.
    pub head: String,
    /// The first entry that is not.
    pub broken: Option<Broken>,
}

/// Where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The entry.
    pub sequence: i64,
    /// What is wrong.
    pub why: String,
}

pub(super) async fn verify(view: &mut View, expected: Option<(i64, &str)>) -> Result<AuditVerdict, StoreError> {
    let mut walk = Walk { entries: 0, head: BEGINNING.to_owned() };
    // From below the first, so that nothing hides in front of it.
    let mut after = i64::MIN;
    loop {
        let page = view.audit_after(after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.sequence;
        for entry in &page {
            let wrong = walk.step(entry).or_else(|| walk.differs_from(expected));
            if let Some(broken) = wrong {
                return Ok(walk.broken(broken));
            }
        }
    }
    let missing = |sequence: i64, what: &str| Broken { sequence, why: format!("entry {sequence} is missing: {what}") };
    let next = walk.entries + 1;
    let broken = match view.audit_head().await? {
        None => Some(missing(next, "the head of the chain was removed")),
        Some((head, _)) if head > walk.entries => Some(missing(next, &format!("the chain ended at {head}"))),
        Some((head, hash)) if head < walk.entries || hash != walk.head => {
            let why = format!("the chain ends at {}, but its head names {head} {hash}", walk.entries);
            Some(Broken { sequence: walk.entries.min(head + 1), why })
        }
        Some(_) => match expected {
            Some((noted, _)) if noted > walk.entries => Some(missing(next, &format!("the noted head is {noted}"))),
            _ => None,
        },
    };
    Ok(match broken {
        Some(broken) => walk.broken(broken),
        None => AuditVerdict { entries: walk.entries, head: walk.head, broken: None },
    })
}

struct Walk {
    entries: i64,
    head: String,
}

impl Walk {
    /// Goes one entry further, or says why not.
    fn step(&mut self, entry: &Audit) -> Option<Broken> {
        let sequence = self.entries + 1;
        let why = if entry.sequence != sequence {
            format!("entry {sequence} is missing: the next one is {}", entry.sequence)
        } else if entry.previous != self.head {
            "it does not follow the entry before it".to_owned()
        } else if entry.hash != hash(&entry.previous, entry.sequence, &entry.entry) {
            "its hash is not the one of its fields".to_owned()
        } else {
            self.entries = sequence;
            entry.hash.clone_into(&mut self.head);
            return None;
        };
        Some(Broken { sequence, why })
    }

    /// Whether the entry where the walk stands was noted with another hash.
    fn differs_from(&self, expected: Option<(i64, &str)>) -> Option<Broken> {
        let (noted, hash) = expected.filter(|(noted, hash)| *noted == self.entries && *hash != self.head)?;
        Some(Broken { sequence: noted, why: format!("the chain was written anew: its hash was noted as {hash}") })
    }

    fn broken(self, broken: Broken) -> AuditVerdict {
        AuditVerdict { entries: self.entries.min(broken.sequence - 1), head: self.head, broken: Some(broken) }
    }
}
