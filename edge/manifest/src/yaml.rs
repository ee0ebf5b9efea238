//! YAML text to located trees, one for each document.
//!
//! Owns the budgets against hostile text: bytes, depth, and nodes counted as if every alias were
//! written out, so that an alias bomb is refused before anyone walks it. Complains about what no
//! reader could accept (syntax, duplicate keys, tags, keys that are not scalars) and leaves the
//! meaning of everything else to the readers.

use std::{collections::BTreeMap, sync::Arc};

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{
    finding::Position,
    node::{Entry, Kind, Node, Scalar, excerpt},
    report::Report,
};

/// 16 MiB: 10 000 flags with rules are about 5 MB of YAML.
pub(super) const MAX_BYTES: usize = 16 << 20;
/// The engine's 64 levels of conditions take two here each, the way down to them eight. Readers
/// recurse, so this bounds their stack.
pub(super) const MAX_DEPTH: usize = 160;
/// With aliases written out. 10 000 flags have about 400 000 nodes.
pub(super) const MAX_NODES: usize = 2_000_000;

/// Reads all documents of a text. Those that cannot be read are left out, with a finding.
pub(super) fn read(text: &str, report: &mut Report) -> Vec<Node> {
    let start = Position { line: 1, column: 1 };
    if text.len() > MAX_BYTES {
        let detail = format!("the file has {} bytes; the limit is {MAX_BYTES}", text.len());
        report.add(start, "limit_exceeded", detail);
        return Vec::new();
    }
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    // One more than ours, so that the sentence about depth is ours too.
    options.flow_nesting_limit = MAX_DEPTH + 1;
    options.block_nesting_limit = MAX_DEPTH + 1;
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder { report, documents: Vec::new(), open: Vec::new(), anchors: BTreeMap::new(), nodes: 0 };
    loop {
        match parser.next_event() {
            None => break,
            Some(Ok((event, span))) => {
                if let Err(Stop) = builder.event(event, span) {
                    break;
                }
            }
            Some(Err(error)) => {
                builder.syntax(&error);
                builder.open.clear();
                // Later documents can still be checked; what is left of this one cannot.
                if !matches!(parser.proceed_next_document(), Ok(true)) {
                    break;
                }
            }
        }
    }
    builder.documents
}

/// A budget is used up: reading goes no further.
struct Stop;

/// A collection that is still being read.
struct Open {
    at: Position,
    anchor: usize,
    nodes_before: usize,
    /// Levels below this one, aliases written out.
    height: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, index: BTreeMap<Arc<str>, Position>, key: Option<(Arc<str>, Position)> },
}

/// A finished node that aliases may repeat.
struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

struct Builder<'r> {
    report: &'r mut Report,
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Anchored>,
    nodes: usize,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Stop> {
        let at = position(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, at)?;
                let plain = style == ScalarStyle::Plain && !self.tagged(tag.as_deref(), at);
                let kind = Kind::Scalar(Scalar { text: text.into(), plain });
                self.finish(Anchored { node: Node { at, kind }, nodes: 1, height: 0 }, anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tagged(tag.as_deref(), at);
                self.begin(at, anchor, Content::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tagged(tag.as_deref(), at);
                let content = Content::Map { entries: Vec::new(), index: BTreeMap::new(), key: None };
                self.begin(at, anchor, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => self.alias(id, at)?,
            Event::DocumentStart(..) => {
                self.open.clear();
                self.anchors.clear();
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, at: Position, anchor: usize, content: Content) -> Result<(), Stop> {
        self.count(1, at)?;
        self.deepen(1, at)?;
        self.open.push(Open { at, anchor, nodes_before: self.nodes, height: 0, content });
        Ok(())
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let kind = match open.content {
            Content::List(items) => Kind::List(items.into()),
            Content::Map { entries, .. } => Kind::Map(entries.into()),
        };
        let nodes = 1 + self.nodes - open.nodes_before;
        self.finish(Anchored { node: Node { at: open.at, kind }, nodes, height: open.height + 1 }, open.anchor);
    }

    fn alias(&mut self, id: usize, at: Position) -> Result<(), Stop> {
        let Some(anchored) = self.anchors.get(&id) else {
            self.report.add(at, "alias_to_itself", "the alias is inside of what it names".to_owned());
            return Err(Stop);
        };
        let (kind, nodes, height) = (anchored.node.kind.clone(), anchored.nodes, anchored.height);
        self.count(nodes, at)?;
        self.deepen(height, at)?;
        self.finish(Anchored { node: Node { at, kind }, nodes, height }, 0);
        Ok(())
    }

    /// Refuses what would reach further down than readers may recurse.
    fn deepen(&mut self, levels: usize, at: Position) -> Result<(), Stop> {
        if self.open.len() + levels <= MAX_DEPTH {
            return Ok(());
        }
        self.too_deep(at);
        Err(Stop)
    }

    fn syntax(&mut self, error: &ScanError) {
        let at = position(*error.marker());
        match error.kind() {
            ErrorKind::RecursionLimitExceeded => self.too_deep(at),
            _ => {
                self.report.add(at, "yaml_syntax", error.info());
            }
        }
    }

    fn too_deep(&mut self, at: Position) {
        self.report.add(at, "limit_exceeded", format!("more than {MAX_DEPTH} levels of nesting"));
    }

    fn count(&mut self, nodes: usize, at: Position) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            self.report.add(at, "limit_exceeded", format!("more than {MAX_NODES} values, aliases written out"));
            return Err(Stop);
        }
        Ok(())
    }

    /// Whether the node has an explicit `!!str`; complains about any other tag.
    fn tagged(&mut self, tag: Option<&Tag>, at: Position) -> bool {
        let Some(tag) = tag else { return false };
        let text = tag.is_yaml_core_schema_tag("str");
        if !text {
            let detail = format!("the tag {} has no meaning here", excerpt(&tag.original()));
            self.report
                .add(at, "tag_unsupported", detail)
                .help("remove it; values are read by what is expected".into());
        }
        text
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, done: Anchored, anchor: usize) {
        let (node, height) = (done.node.clone(), done.height);
        if anchor != 0 {
            self.anchors.insert(anchor, done);
        }
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(node);
            return;
        };
        parent.height = parent.height.max(height);
        match &mut parent.content {
            Content::List(items) => items.push(node),
            Content::Map { entries, index, key } => match key.take() {
                None => *key = Some(key_of(node, self.report)),
                Some((key, key_at)) => {
                    if let Some(first) = index.get(&key) {
                        let detail = format!("the key \"{}\" is already at line {}", excerpt(&key), first.line);
                        self.report.add(key_at, "key_duplicate", detail);
                        return;
                    }
                    index.insert(key.clone(), key_at);
                    entries.push(Entry { key, key_at, value: node });
                }
            },
        }
    }
}

/// A key is its text, quoted or not: `true:` and `1.10:` are the names `true` and `1.10`.
fn key_of(node: Node, report: &mut Report) -> (Arc<str>, Position) {
    let Kind::Scalar(scalar) = node.kind else {
        report.add(node.at, "key_invalid", format!("a key is a name, not {}", node.describe()));
        return ("".into(), node.at);
    };
    if &*scalar.text == "<<" && scalar.plain {
        report
            .add(node.at, "key_merge", "merge keys are not part of YAML 1.2".to_owned())
            .help("repeat the keys, or use an alias for the whole value".into());
    }
    (scalar.text, node.at)
}

fn position(mark: Marker) -> Position {
    Position { line: mark.line(), column: mark.col() + 1 }
}
