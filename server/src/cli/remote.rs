//! The verbs that speak to a control plane, and only that.

use super::{
    api, apply, audit, diff, edges,
    exit::Outcome,
    export, flag,
    noun::{Noun, OfApp},
    release, rollback, rollout, segment, snapshot, token, traffic, worker,
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
    #[command(after_help = flag::EXAMPLES)]
    Flag(OfApp<flag::Verb>),
    /// Segments: named conditions.
    #[command(after_help = segment::EXAMPLES)]
    Segment(OfApp<segment::Verb>),
    /// Releases: registered once, never changed.
    #[command(after_help = release::EXAMPLES)]
    Release(OfApp<release::Verb>),
    /// Which release serves whom.
    #[command(after_help = traffic::EXAMPLES)]
    Traffic(OfApp<traffic::Verb>),
    /// Rollouts: a release takes over step by step, by evidence.
    #[command(after_help = rollout::EXAMPLES)]
    Rollout(OfApp<rollout::Verb>),
    /// Approve the step of a rollout that waits for it.
    Approve(rollout::Approve),
    /// Take traffic back at once, and see every edge acknowledge it.
    #[command(visible_alias = "rb")]
    Rollback(rollback::Args),
    /// Published snapshots.
    #[command(after_help = snapshot::EXAMPLES)]
    Snapshot(OfApp<snapshot::Verb>),
    /// What only Cloudflare Workers need.
    #[command(after_help = worker::EXAMPLES)]
    Worker(OfApp<worker::Verb>),
    /// What each edge runs.
    Edges(edges::Args),
    /// Who did what, when and why.
    #[command(after_help = audit::EXAMPLES)]
    Audit(Noun<audit::Verb>),
    /// Tokens of people, programs and edges.
    #[command(after_help = token::EXAMPLES)]
    Token(Noun<token::Verb>),
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
        Verb::Rollout(args) => rollout::run(args),
        Verb::Approve(args) => rollout::approve(args),
        Verb::Rollback(args) => rollback::run(args),
        Verb::Snapshot(args) => snapshot::run(args),
        Verb::Worker(args) => worker::run(args),
        Verb::Edges(args) => edges::run(args),
        Verb::Audit(args) => audit::run(args),
        Verb::Token(args) => token::run(args),
        Verb::Api(args) => api::run(args),
    }
}
