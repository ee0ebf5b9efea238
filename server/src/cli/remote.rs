//! The verbs that speak to a control plane, and only that.

use super::{
    api, apply, audit, diff, edges, exit::Outcome, export, flag, release, rollback, segment, snapshot, token, traffic,
};

/// Verbs that need a control plane.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// Make an app of the control plane what a bascule.yaml says.
    Apply(apply::Args),
    /// Show what `apply` would change.
    Diff(diff::Args),
    /// Write an app of the control plane as a bascule.yaml.
    Export(export::Args),
    /// Flags and who gets which variant.
    Flag(flag::Args),
    /// Segments: named conditions.
    Segment(segment::Args),
    /// Releases: registered once, never changed.
    Release(release::Args),
    /// Which release serves whom.
    Traffic(traffic::Args),
    /// Take traffic back at once, and see every edge acknowledge it.
    #[command(visible_alias = "rb")]
    Rollback(rollback::Args),
    /// Published snapshots.
    Snapshot(snapshot::Args),
    /// What each edge runs.
    Edges(edges::Args),
    /// Who did what, when and why.
    Audit(audit::Args),
    /// Tokens of people, programs and edges.
    Token(token::Args),
    /// Send any request to the control plane.
    Api(api::Args),
}

pub(super) fn run(verb: &Verb) -> Outcome {
    match verb {
        Verb::Apply(args) => apply::run(args),
        Verb::Diff(args) => diff::run(args),
        Verb::Export(args) => export::run(args),
        Verb::Flag(args) => flag::run(args),
        Verb::Segment(args) => segment::run(args),
        Verb::Release(args) => release::run(args),
        Verb::Traffic(args) => traffic::run(args),
        Verb::Rollback(args) => rollback::run(args),
        Verb::Snapshot(args) => snapshot::run(args),
        Verb::Edges(args) => edges::run(args),
        Verb::Audit(args) => audit::run(args),
        Verb::Token(args) => token::run(args),
        Verb::Api(args) => api::run(args),
    }
}
