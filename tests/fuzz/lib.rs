//! What the fuzz targets share: the claims of `targets`, over the crates they are about.

#[path = "targets.rs"]
pub mod targets;
