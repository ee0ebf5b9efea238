//! The developer's commands: `cargo xtask COMMAND`.
//!
//! This file owns the list of commands and nothing else; each command is a module with a `run`. Invariant: a command
//! that cannot do all of its work fails with a sentence that says what to do. Nothing here is shipped to users, and
//! no command needs anything but the Rust toolchain to start: whatever else a command uses, it installs or names.

mod bench;
mod build;
mod ci;
mod demo;
mod fuzz;
mod lint;
mod module;
mod process;
mod setup;
mod test;
mod tools;
mod worker;
mod workspace;

use std::process::ExitCode;

/// One line of `cargo xtask --help` and the function behind it.
struct Command {
    name: &'static str,
    summary: &'static str,
    /// What `cargo xtask NAME --help` prints below the summary.
    help: &'static str,
    run: fn(&[String]) -> anyhow::Result<ExitCode>,
}

const COMMANDS: &[Command] = &[
    Command { name: "setup", summary: setup::SUMMARY, help: setup::HELP, run: setup::run },
    Command { name: "build", summary: build::SUMMARY, help: build::HELP, run: build::run },
    Command { name: "worker", summary: worker::SUMMARY, help: worker::HELP, run: worker::run },
    Command { name: "demo", summary: demo::SUMMARY, help: demo::HELP, run: demo::run },
    Command { name: "test", summary: test::SUMMARY, help: test::HELP, run: test::run },
    Command { name: "lint", summary: lint::SUMMARY, help: lint::HELP, run: lint::run },
    Command { name: "fuzz", summary: fuzz::SUMMARY, help: fuzz::HELP, run: fuzz::run },
    Command { name: "bench", summary: bench::SUMMARY, help: bench::HELP, run: bench::run },
    Command {
        name: "callgrind",
        summary: bench::callgrind::SUMMARY,
        help: bench::callgrind::HELP,
        run: bench::callgrind::run,
    },
    Command { name: "ci", summary: ci::SUMMARY, help: ci::HELP, run: ci::run },
];

/// The exit code for a command line that makes no sense, as in the `bascule` binary.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        eprint!("{}", overview());
        return ExitCode::from(USAGE);
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", overview());
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("xtask: there is no command `{name}`\n\n{}", overview());
        return ExitCode::from(USAGE);
    };
    // `demo` hands its arguments on, so only a leading --help is ours.
    if rest.first().is_some_and(|arg| matches!(arg.as_str(), "--help" | "-h")) {
        println!("cargo xtask {}: {}\n\n{}", command.name, command.summary, command.help);
        return ExitCode::SUCCESS;
    }
    (command.run)(rest).unwrap_or_else(|error| {
        eprintln!("xtask {name}: {error:#}");
        ExitCode::FAILURE
    })
}

fn overview() -> String {
    use std::fmt::Write as _;
    let mut text = String::from("Usage: cargo xtask COMMAND [--help]\n\n");
    for Command { name, summary, .. } in COMMANDS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<11}{summary}");
    }
    text
}

/// Refuses arguments, for the commands that take none.
fn no_arguments(args: &[String]) -> anyhow::Result<()> {
    match args.first() {
        None => Ok(()),
        Some(arg) => anyhow::bail!("unexpected argument `{arg}`; see --help"),
    }
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, no_arguments, overview};

    #[test]
    fn the_overview_names_every_command_once() {
        let text = overview();
        for command in COMMANDS {
            let lines = text.lines().filter(|line| line.trim_start().starts_with(&format!("{} ", command.name)));
            assert_eq!(lines.count(), 1, "{}", command.name);
        }
    }

    #[test]
    fn a_command_without_arguments_refuses_one_by_name() {
        assert!(no_arguments(&[]).is_ok());
        let error = no_arguments(&["--fast".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("`--fast`"));
    }
}
