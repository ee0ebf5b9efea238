//! What the end-to-end tests are made of; no test lives here.

pub mod binary;
