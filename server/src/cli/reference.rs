//! The command line as a document: `docs/cli.md` is exactly this, and a test holds it so.

use std::fmt::Write;

/// Markdown with the help of every verb.
pub fn reference() -> String {
    let mut command = super::command().disable_help_subcommand(true).term_width(100);
    command.build();
    let mut text = String::from(
        "# Command line\n\nGenerated from the program: `BASCULE_UPDATE_DOCS=1 cargo test -p tests cli` writes it anew.\n",
    );
    section(&mut text, &mut command);
    text
}

/// A command, then those below it.
fn section(text: &mut String, command: &mut clap::Command) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.trim_end().lines().map(str::trim_end).collect();
    // Writing to a String cannot fail.
    let _ = write!(text, "\n## `{name}`\n\n```text\n{}\n```\n", lines.join("\n"));
    command.get_subcommands_mut().for_each(|verb| section(text, verb));
}
