//! `bascule completions`: a script for the user's shell.

use std::io::Write;

use super::exit::{Exit, Outcome};

const EXAMPLES: &str = "\
Examples:
  bascule completions bash > /etc/bash_completion.d/bascule
  bascule completions zsh > ~/.zfunc/_bascule
  bascule completions fish > ~/.config/fish/completions/bascule.fish";

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Outcome {
    // The generator panics when its writer fails, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "bascule", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Ok)
}
