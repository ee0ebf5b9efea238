//! Nouns: what every `bascule NOUN VERB` of the control plane has beside its verbs.

use super::{
    exit::Outcome,
    plane::{AppName, Connection, Session},
};

/// A noun with its verbs.
#[derive(Debug, clap::Args)]
pub(super) struct Noun<V: clap::Subcommand> {
    #[command(subcommand)]
    pub(super) verb: V,
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// A noun of an app.
#[derive(Debug, clap::Args)]
pub(super) struct OfApp<V: clap::Subcommand> {
    #[command(subcommand)]
    verb: V,
    #[command(flatten)]
    app: AppName,
    #[command(flatten)]
    connection: Connection,
}

impl<V: clap::Subcommand> OfApp<V> {
    /// Runs the verb for the app that is meant.
    pub(super) fn run(&self, run: impl AsyncFnOnce(&Session, &str, &V) -> Outcome) -> Outcome {
        self.connection.run(async |session| {
            let app = session.app(&self.app).await?;
            run(session, &app, &self.verb).await
        })
    }
}
