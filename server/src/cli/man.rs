//! `bascule man`: one manual page for the program and one for each verb.

use std::path::PathBuf;

use anyhow::Context as _;

use super::exit::{Exit, Outcome};

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bascule man /usr/local/share/man/man1")]
pub(super) struct Args {
    /// The folder for the pages; made when it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(super) fn run(args: &Args) -> Outcome {
    let folder = &args.folder;
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        clap_mangen::generate_to(super::command().disable_help_subcommand(true), folder)
    };
    write().with_context(|| format!("cannot write the manual pages to {}", folder.display()))?;
    eprintln!("wrote the manual pages to {}", folder.display());
    Ok(Exit::Ok)
}
