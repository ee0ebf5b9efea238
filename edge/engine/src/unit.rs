//! The unit: what is hashed. A list of sources, the first present one counts.

use crate::attribute::{Attribute, Attributes};
use crate::bucket::Bucketer;
use crate::context::{RequestContext, Value};
use crate::decision::UnitIndex;
use crate::limits::{MAX_UNIT_BYTES, MAX_UNIT_SOURCES, MAX_UNIT_SOURCES_TOTAL};
use crate::problem::Problems;
use crate::sip::Field;
use crate::text::canonical;

/// The cookie that carries a minted unit.
pub(crate) const MINTED: &str = "cookie:bsc_unit";
const TARGETING_KEY: &str = "targetingKey";

/// A source of units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitSource {
    /// As written, e.g. `header:x-user-id`, `cookie:uid`, `attribute:accountId`, `targetingKey`.
    pub name: Box<str>,
    /// Index of its attribute in [`crate::Snapshot::needs`].
    pub attribute: u16,
}

/// A list of sources in order of preference.
#[derive(Debug, Clone)]
pub(crate) struct UnitList {
    entries: Box<[Entry]>,
}

#[derive(Debug, Clone)]
struct Entry {
    attribute: u16,
    source: UnitIndex,
    /// The source name that is hashed.
    hashed_as: Box<str>,
}

/// A unit that was found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit<'a> {
    pub(crate) source: UnitIndex,
    /// Position in its list: which prepared hasher takes it.
    position: usize,
    value: UnitValue<'a>,
}

#[derive(Debug, Clone, Copy)]
enum UnitValue<'a> {
    /// A text, prepared once for all the hashes of a decision.
    Text(Field<'a>),
    /// A number or boolean: few requests need their canonical text.
    Scalar(Value<'a>),
}

impl Unit<'_> {
    /// The bucket of the unit, by the hasher that was prepared for its source.
    #[inline]
    pub(crate) fn bucket(&self, prepared: &[Bucketer]) -> Option<u32> {
        let bucketer = prepared.get(self.position)?;
        match &self.value {
            UnitValue::Text(field) => Some(bucketer.bucket_of(field)),
            UnitValue::Scalar(value) => Some(bucketer.bucket(canonical(*value)?.as_bytes())),
        }
    }
}

/// All unit sources of a snapshot while it is being checked.
#[derive(Debug, Default)]
pub(crate) struct UnitSources(Vec<UnitSource>);

impl UnitSources {
    /// The environment's list: the key that an SDK passes comes first, the minted cookie last.
    ///
    /// A `targetingKey` is hashed under the name of the first source in the list: a back end that
    /// passes the same user id as the gateway finds in its header gets the same buckets.
    pub(crate) fn environment(
        &mut self,
        wire: &[String],
        attributes: &mut Attributes,
        problems: &mut Problems,
    ) -> UnitList {
        problems.over("unit sources in a list", wire.len(), MAX_UNIT_SOURCES);
        let mut names = vec![TARGETING_KEY];
        names.extend(wire.iter().take(MAX_UNIT_SOURCES).map(String::as_str));
        if !wire.iter().any(|name| name == MINTED) {
            names.push(MINTED);
        }
        let mut list = self.list(&names, 1, attributes, problems);
        if let [first, second, ..] = &mut *list.entries {
            first.hashed_as.clone_from(&second.hashed_as);
        }
        list
    }

    /// A flag's own list, exactly as written.
    pub(crate) fn own(&mut self, wire: &[String], attributes: &mut Attributes, problems: &mut Problems) -> UnitList {
        if wire.is_empty() {
            problems.add("unit_empty", "name at least one unit source, or leave the list out to use the environment's");
        }
        problems.over("unit sources in a list", wire.len(), MAX_UNIT_SOURCES);
        let names: Vec<_> = wire.iter().take(MAX_UNIT_SOURCES).map(String::as_str).collect();
        self.list(&names, 0, attributes, problems)
    }

    /// `implied` names come before those of the document and do not count for its pointers.
    fn list(
        &mut self,
        names: &[&str],
        implied: usize,
        attributes: &mut Attributes,
        problems: &mut Problems,
    ) -> UnitList {
        let mut entries: Vec<Entry> = Vec::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            let entry = problems.at(i.saturating_sub(implied), |problems| {
                let entry = self.entry(name, attributes, problems);
                if entries.iter().any(|before| before.hashed_as == entry.hashed_as) {
                    problems.add("unit_duplicate", format!("the unit source `{name:.100}` is in the list twice"));
                }
                entry
            });
            entries.push(entry);
        }
        UnitList { entries: entries.into() }
    }

    fn entry(&mut self, name: &str, attributes: &mut Attributes, problems: &mut Problems) -> Entry {
        let normal = match name.split_once(':') {
            Some(("header", header)) if !header.is_empty() => format!("header:{}", header.to_ascii_lowercase()),
            _ => name.to_owned(),
        };
        let attribute = match normal.split_once(':') {
            _ if normal == TARGETING_KEY => TARGETING_KEY.to_owned(),
            Some((kind @ ("header" | "cookie"), key)) if !key.is_empty() => format!("{kind}.{key}"),
            // `now` is the host's clock and no attribute.
            Some(("attribute", key)) if !key.is_empty() && key != "now" => key.to_owned(),
            _ => {
                problems.add(
                    "unit_source_unknown",
                    format!(
                        "`{name:.100}` is no unit source; write header:NAME, cookie:NAME, attribute:NAME or targetingKey"
                    ),
                );
                TARGETING_KEY.to_owned()
            }
        };
        let attribute = attributes.intern(&attribute, problems);
        let source = UnitSource { name: normal.clone().into(), attribute };
        let index = self.0.iter().position(|known| *known == source).unwrap_or_else(|| {
            self.0.push(source);
            self.0.len() - 1
        });
        problems.over("unit sources", index + 1, MAX_UNIT_SOURCES_TOTAL);
        Entry { attribute, source: UnitIndex(u8::try_from(index).unwrap_or(u8::MAX)), hashed_as: normal.into() }
    }

    pub(crate) fn into_list(self) -> Box<[UnitSource]> {
        self.0.into()
    }
}

impl UnitList {
    /// The first present value: a scalar that is neither the empty text nor too long.
    #[inline]
    pub(crate) fn find<'a>(&self, context: &RequestContext<'a>) -> Option<Unit<'a>> {
        self.entries.iter().enumerate().find_map(|(position, entry)| {
            let value = match context.value(usize::from(entry.attribute)) {
                Value::Text(text) if (1..=MAX_UNIT_BYTES).contains(&text.len()) => UnitValue::Text(Field::new(text)),
                Value::Missing | Value::List(_) | Value::Text(_) => return None,
                scalar @ (Value::Number(_) | Value::Bool(_)) => UnitValue::Scalar(scalar),
            };
            Some(Unit { source: entry.source, position, value })
        })
    }

    /// The values of the sources in order, whatever they are.
    pub(crate) fn values<'a>(&self, context: &RequestContext<'a>) -> impl Iterator<Item = (UnitIndex, Value<'a>)> {
        self.entries.iter().map(|entry| (entry.source, context.value(usize::from(entry.attribute))))
    }

    /// The names under which values are hashed, in order.
    pub(crate) fn hashed_names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.hashed_as)
    }

    /// The attribute and source of the minted cookie, when the list has it.
    pub(crate) fn minted(&self, needs: &[Attribute]) -> Option<(usize, UnitIndex)> {
        self.entries
            .iter()
            .find(|entry| needs.get(usize::from(entry.attribute)).is_some_and(|a| a.name() == "cookie.bsc_unit"))
            .map(|entry| (usize::from(entry.attribute), entry.source))
    }
}
