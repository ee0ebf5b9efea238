//! Streams and the tokens that opened them: a stream ends when its token no longer counts.
//!
//! A request is over before anybody could revoke its token; a stream is not. Invariant: a stream outlives its token by no
//! more than [`CHECK`], and where the revocation is heard of, by no more than a quarter of a second. A store that cannot
//! be asked ends nothing.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Shared, gates};
use crate::ids;

/// Between two looks whether the token still counts, if nobody says that tokens have changed: when it expires.
const CHECK: Duration = Duration::from_secs(5);

/// What ends the stream of a request: the end of the process, or of its token. The stream holds the guard.
pub(super) fn watch(shared: &Arc<Shared>, headers: &HeaderMap) -> (CancellationToken, DropGuard) {
    watch_token(shared, gates::presented(headers).map(|token| token.sha256()))
}

/// The same for the token with this hash.
pub(super) fn watch_token(shared: &Arc<Shared>, sha256: Option<String>) -> (CancellationToken, DropGuard) {
    let end = shared.stop.child_token();
    let (ends, control) = (end.clone(), Arc::clone(&shared.control));
    tokio::spawn(async move {
        let Some(sha256) = sha256 else { return ends.cancel() };
        let mut changes = control.hub.access_changes();
        loop {
            // Asked at once: it may have been revoked before anybody listened.
            if let Ok(None) = control.recognise(&sha256).await {
                tracing::debug!("a stream ends: its token no longer counts");
                return ends.cancel();
            }
            tokio::select! {
                () = ends.cancelled() => return,
                changed = changes.changed() => match changed {
                    // Thousands of streams hear it together. The first to ask makes the others' token a remembered one.
                    Ok(()) => tokio::time::sleep(Duration::from_millis(ids::random::<1>()[0].into())).await,
                    Err(_) => return,
                },
                () = tokio::time::sleep(CHECK) => {}
            }
        }
    });
    (end.clone(), end.drop_guard())
}
