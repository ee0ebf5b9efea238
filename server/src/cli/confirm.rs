//! Asking before traffic moves or something is deleted.
//!
//! Nobody is asked where nobody could answer: without a terminal a verb that needs a yes ends with code 6 and has sent
//! nothing, unless `--yes` said it in advance.

use std::io::{BufRead as _, IsTerminal as _};

use super::exit::{Exit, Failure};

/// What was said in advance.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Consent {
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Never ask; end with code 6 where a yes is needed
    #[arg(long, conflicts_with = "yes")]
    no_input: bool,
}

impl Consent {
    /// Goes on only with a yes.
    pub(super) fn ask(&self, question: &str) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if self.no_input || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            let failure = Failure::new(Exit::ConfirmationNeeded, format!("nobody is there to be asked: {question}"));
            return Err(failure.with_help("--yes says yes in advance; nothing was sent".to_owned()).into());
        }
        eprint!("{question} [y/N] ");
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if is_yes(&answer) {
            return Ok(());
        }
        Err(Failure::new(Exit::ConfirmationNeeded, "not confirmed; nothing was changed").into())
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(["y", "Y\n", " yes\r\n"].iter().all(|answer| is_yes(answer)));
        assert!(!["", "\n", "n", "yep", "no yes"].iter().any(|answer| is_yes(answer)));
    }
}
