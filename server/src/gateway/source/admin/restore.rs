//! The start without a control plane: what it last sent, from the state directory, with its signature checked again.

use std::sync::Arc;

use super::keys::Keyring;
use super::verify::{self, Refusal};
use crate::gateway::board::{Board, Origin};
use crate::gateway::publish::{Change, Publisher, Worker};
use crate::gateway::scope::Scope;
use crate::host::{Engine, LoadedSnapshot};
use crate::state_dir::StateDir;
use crate::telemetry;

/// Runs whatever of the directory is good.
pub(super) fn restore<W: Worker>(
    dir: &StateDir,
    keyring: &Keyring,
    engine: &Engine,
    publisher: &Arc<Publisher<W>>,
    board: &Board,
) {
    let scopes = dir.scopes().unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the state directory cannot be used");
        Vec::new()
    });
    let loaded: Vec<_> = scopes.iter().filter_map(|scope| newest(dir, scope, keyring, engine)).collect();
    let set = |loaded: &[LoadedSnapshot]| Change {
        set: loaded.iter().map(|loaded| (loaded.clone(), Origin::StateDir)).collect(),
        ..Change::default()
    };
    if loaded.is_empty() || publisher.publish(set(&loaded)).is_ok() {
        return;
    }
    for one in &loaded {
        if let Err(error) = publisher.publish(set(std::slice::from_ref(one))) {
            tracing::error!(snapshot = ?one, reason = telemetry::chain(&error), "a saved snapshot cannot be served");
        }
    }
    if !board.has_snapshot() {
        tracing::error!("nothing of the state directory can be served");
    }
}

/// The newest generation that is signed, and whole, and of this environment.
fn newest(dir: &StateDir, scope: &Scope, keyring: &Keyring, engine: &Engine) -> Option<LoadedSnapshot> {
    let (app, environment) = (scope.app(), scope.environment());
    for (head, document) in dir.signed(scope) {
        let number = head.number;
        let loaded = verify::authenticate(keyring, &head, &document).and_then(|of| {
            if of == *scope {
                verify::load(&head, document, engine)
            } else {
                Err(Refusal { code: "document_invalid", detail: format!("it is a snapshot of {of}") })
            }
        });
        match loaded {
            Ok(loaded) => {
                tracing::warn!(app, environment, snapshot.number = number, "serving the last good snapshot from disk");
                return Some(loaded);
            }
            Err(Refusal { code, detail }) => {
                tracing::error!(
                    app,
                    environment,
                    snapshot.number = number,
                    code,
                    detail,
                    "a saved snapshot is refused"
                );
            }
        }
    }
    None
}
