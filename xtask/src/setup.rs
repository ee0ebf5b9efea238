//! `cargo xtask setup`: everything the other commands need on this machine.
//!
//! Owns the order of the ways to a toolchain that builds the edge module. Invariant: a way counts only when a module
//! was compiled *and linked* with it; that files exist proves nothing after an interrupted installation.

mod debian;
mod openapi;
mod openfeature;
mod packages;
mod probe;
mod python;
mod runtime;

use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::{self, capture, run_within, say, which};
use crate::workspace::Workspace;

pub(crate) use packages::{BENCH_TOOLS, CALLGRIND_TOOLS, PINGORA_TOOLS, fuzz_tools, tools};
pub(crate) use runtime::workerd;

pub(crate) const SUMMARY: &str = "make this machine able to build the edge module and to run the tests";
pub(crate) const HELP: &str = "\
Finds or installs a toolchain for wasm32-unknown-unknown, in this order:
  present   the active toolchain, or an earlier result of the third way, links a module
  rustup    `rustup target add`, for at most BASCULE_SETUP_TIMEOUT seconds (120)
  debian    Debian's rustc-web with std built from source, linked as rustup toolchain `debian-web`
and the programs that the tests use, from Debian's packages; and the OpenFeature clients of tests/openfeature and the
programs of tests/openapi, below the target folder. Running it again does nothing twice.
`build`, `demo` and `test` do this themselves. BASCULE_SETUP_SKIP=present,rustup skips ways.
On stdout: the cargo command that builds the module.";

/// The target the edge module is built for.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";
/// The rustup name of Debian's toolchain.
const LINKED: &str = "debian-web";
/// Long enough for the 20 MiB of the target on a slow line, short enough for a server that does not answer.
const RUSTUP_LIMIT: Duration = Duration::from_mins(2);

/// A toolchain that builds the edge module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// The one that builds everything else.
    Active,
    /// Debian's, through rustup.
    Linked,
    /// Debian's, on a machine without rustup.
    Debian,
}

impl Toolchain {
    pub(crate) fn cargo(self) -> Command {
        match self {
            Self::Active => process::cargo(),
            Self::Linked => {
                let mut command = process::cargo();
                command.arg(format!("+{LINKED}"));
                command
            }
            Self::Debian => {
                let mut command = Command::new(debian::CARGO);
                command.env("RUSTC", debian::RUSTC);
                command
            }
        }
    }

    fn rustc(self) -> Command {
        match self {
            Self::Active => Command::new("rustc"),
            Self::Linked => {
                let mut command = Command::new("rustc");
                command.arg(format!("+{LINKED}"));
                command
            }
            Self::Debian => Command::new(debian::RUSTC),
        }
    }

    /// What to type for [`Toolchain::cargo`].
    fn typed(self) -> String {
        match self {
            Self::Active => "cargo".to_owned(),
            Self::Linked => format!("cargo +{LINKED}"),
            Self::Debian => format!("RUSTC={} {}", debian::RUSTC, debian::CARGO),
        }
    }
}

/// A way to a toolchain.
struct Way {
    name: &'static str,
    take: fn(&Workspace) -> Result<Toolchain>,
}

const WAYS: &[Way] = &[
    Way { name: "present", take: present },
    Way { name: "rustup", take: rustup },
    Way { name: "debian", take: debian::install },
];

pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    crate::no_arguments(args)?;
    let workspace = Workspace::load()?;
    let toolchain = toolchain(&workspace)?;
    test_tools(&workspace)?;
    println!("{}", toolchain.typed());
    Ok(ExitCode::SUCCESS)
}

/// Sees to it that what the tests start is installed: programs, the OpenFeature clients, and schemathesis.
pub(crate) fn test_tools(workspace: &Workspace) -> Result<()> {
    packages::test_tools()?;
    openfeature::clients(workspace)?;
    runtime::workerd(workspace)?;
    openapi::programs(workspace)
}

/// The toolchain for the edge module: found, or installed now.
pub(crate) fn toolchain(workspace: &Workspace) -> Result<Toolchain> {
    let skipped = skipped(&std::env::var("BASCULE_SETUP_SKIP").unwrap_or_default())?;
    let mut failures = Vec::new();
    for way in WAYS {
        if skipped.contains(&way.name) {
            say(format_args!("setup: `{}` is skipped by BASCULE_SETUP_SKIP", way.name));
            continue;
        }
        match (way.take)(workspace) {
            Ok(toolchain) => {
                say(format_args!("setup: `{}` builds {WASM}", toolchain.typed()));
                return Ok(toolchain);
            }
            Err(error) => {
                say(format_args!("setup: way `{}` does not work here", way.name));
                failures.push(format!("  {}: {}\n", way.name, format!("{error:#}").replace('\n', "\n    ")));
            }
        }
    }
    bail!(
        "no toolchain here builds {WASM}.\n{}\
         Do one of these and run it again: with rustup, `rustup target add {WASM}`; on Debian, as root, `apt-get install {}`.",
        failures.concat(),
        debian::PACKAGES.join(" ")
    )
}

fn skipped(list: &str) -> Result<Vec<&'static str>> {
    list.split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let way = WAYS.iter().find(|way| way.name == name);
            way.map(|way| way.name).with_context(|| format!("BASCULE_SETUP_SKIP: there is no way `{name}`"))
        })
        .collect()
}

/// The active toolchain, or what `debian` left earlier: asking rustup's server again on each run would cost its time
/// limit each time on a machine that cannot reach it.
fn present(workspace: &Workspace) -> Result<Toolchain> {
    let active = probe::links(workspace, Toolchain::Active);
    if active.is_ok() {
        return Ok(Toolchain::Active);
    }
    let earlier = if which("rustup").is_some() { Toolchain::Linked } else { Toolchain::Debian };
    if probe::is_recent(workspace, earlier).is_ok() && probe::links(workspace, earlier).is_ok() {
        return Ok(earlier);
    }
    active.map(|()| Toolchain::Active)
}

fn rustup(workspace: &Workspace) -> Result<Toolchain> {
    if which("rustup").is_none() {
        bail!("rustup is not installed");
    }
    let limit = time_limit()?;
    say(format_args!("setup: rustup target add {WASM} (at most {} s)", limit.as_secs()));
    run_within(Command::new("rustup").args(["target", "add", WASM]), limit)?;
    probe::links(workspace, Toolchain::Active)?;
    Ok(Toolchain::Active)
}

fn time_limit() -> Result<Duration> {
    match std::env::var("BASCULE_SETUP_TIMEOUT") {
        Ok(seconds) => {
            let seconds = seconds.parse().context("BASCULE_SETUP_TIMEOUT is not a number of seconds")?;
            Ok(Duration::from_secs(seconds))
        }
        Err(_) => Ok(RUSTUP_LIMIT),
    }
}

/// The triple of this machine, as the toolchain that builds everything else names it.
pub(crate) fn host() -> Result<String> {
    version(Toolchain::Active).map(|(_, host)| host)
}

/// The `release` of a rustc, such as `1.95.0`, and its host triple.
pub(crate) fn version(toolchain: Toolchain) -> Result<(String, String)> {
    let text = capture(toolchain.rustc().arg("-vV"))?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    field("release: ").zip(field("host: ")).context("rustc -vV does not state its release and host")
}

#[cfg(test)]
mod tests {
    use super::{Toolchain, skipped};

    #[test]
    fn ways_are_skipped_by_name_and_a_wrong_name_is_an_error() {
        assert_eq!(skipped("").unwrap(), Vec::<&str>::new());
        assert_eq!(skipped("present, rustup").unwrap(), ["present", "rustup"]);
        assert!(skipped("rustop").unwrap_err().to_string().contains("`rustop`"));
    }

    #[test]
    fn what_setup_prints_is_what_runs() {
        let command = Toolchain::Linked.cargo();
        let typed = std::iter::once(command.get_program()).chain(command.get_args());
        let typed: Vec<_> = typed.map(|part| part.to_str().unwrap()).collect();
        assert_eq!(typed.join(" "), Toolchain::Linked.typed());
    }
}
