//! What the fuzz targets share: the claims of `targets`, over the crates and the sources they are about.

/// The reader of `bascule.yaml` uses no other part of the server, and is compiled here without one. That it is in a
/// module with a path has the compiler look for its parts beside it.
#[path = "../../server/src"]
mod server {
    pub mod manifest;
}

pub use server::manifest;

#[path = "targets.rs"]
pub mod targets;
