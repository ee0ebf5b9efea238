//! The flags of a command that runs a gateway, a control plane or both, made from the table of settings.
//!
//! Use it with `#[command(flatten)]`. Flags are texts; they are checked with all other layers.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use super::layers::Layers;
use super::setting::{Kind, Process};
use super::table;

const CONFIG: &str = "config";

/// Whose flags they are.
pub trait Of: Debug + Clone + Default {
    /// The process.
    const PROCESS: Process;
}

/// `bascule gateway`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gateway;
/// `bascule admin`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admin;
/// `bascule serve`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Serve;

impl Of for Gateway {
    const PROCESS: Process = Process::Gateway;
}
impl Of for Admin {
    const PROCESS: Process = Process::Admin;
}
impl Of for Serve {
    const PROCESS: Process = Process::Serve;
}

/// The flags as they were given.
#[derive(Debug, Clone, Default)]
pub struct Flags<P: Of = Gateway> {
    given: BTreeMap<String, Vec<String>>,
    config: Option<PathBuf>,
    process: PhantomData<P>,
}

impl<P: Of> Flags<P> {
    /// The layers of this command: its flags over this process's environment.
    pub fn layers(self) -> Layers {
        // A variable that is not UTF-8 is not one of ours.
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Layers { process: P::PROCESS, flags: self.given, file: self.config, variables: variables.collect() }
    }
}

impl<P: Of> FromArgMatches for Flags<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.config = matches.get_one::<PathBuf>(CONFIG).cloned().or(self.config.take());
        for flag in table::ALL.iter().filter_map(|setting| setting.flag(P::PROCESS)) {
            if let Some(values) = matches.get_many::<String>(flag) {
                self.given.insert(flag.to_owned(), values.cloned().collect());
            }
        }
        Ok(())
    }
}

impl<P: Of> Args for Flags<P> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("TOML file with settings; also BASCULE_CONFIG");
        table::ALL.iter().fold(command.arg(config), |command, setting| {
            let Some(flag) = setting.flag(P::PROCESS) else { return command };
            let arg = Arg::new(flag).long(flag).help(setting.help).value_name(value_name(setting.kind));
            command.arg(match setting.kind {
                Kind::Bool => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
                kind if kind.is_list() => arg.action(ArgAction::Append).value_delimiter(','),
                _ => arg,
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "BOOL",
        Kind::Integer(..) => "N",
        Kind::Duration => "TIME",
        Kind::Size => "BYTES",
        Kind::Text | Kind::Choice(_) | Kind::Header => "VALUE",
        Kind::Url => "URL",
        Kind::Key => "ID",
        Kind::Database => "DATABASE",
        Kind::PublicKeys => "HEX",
        // A secret on the command line would be seen by everybody on the machine.
        Kind::Secret => "FILE",
        Kind::Path | Kind::Paths => "PATH",
        Kind::Address => "ADDR",
        Kind::Networks => "NETWORK",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Flags {
        let command = Flags::<Gateway>::augment_args(Command::new("test"));
        command.debug_assert();
        let command = Flags::<Gateway>::augment_args(Command::new("test"));
        let matches = command.try_get_matches_from([&["test"], args].concat()).expect("accepted");
        Flags::from_arg_matches(&matches).expect("taken over")
    }

    #[test]
    fn flags_that_are_not_given_are_not_layers() {
        assert_eq!(parse(&[]).given, BTreeMap::new());
    }

    #[test]
    fn the_control_plane_alone_needs_no_first_word() {
        let flags = |command: &Command| -> Vec<String> {
            command.get_arguments().filter_map(|arg| arg.get_long().map(str::to_owned)).collect()
        };
        let alone = flags(&Flags::<Admin>::augment_args(Command::new("test")));
        assert!(["listen", "tls-cert", "database", "state-dir"].iter().all(|flag| alone.iter().any(|a| a == flag)));
        assert!(!alone.iter().any(|flag| flag == "file" || flag.starts_with("admin")), "{alone:?}");
        let command = Flags::<Serve>::augment_args(Command::new("test"));
        command.clone().debug_assert();
        assert!(flags(&command).iter().any(|flag| flag == "admin-listen"));
    }

    #[test]
    fn lists_repeat_or_use_commas_and_a_switch_needs_no_value() {
        let args =
            ["--file", "a.yaml", "--file=b.yaml,c.yaml", "--shadow", "--listen", "127.0.0.1:0", "--config", "x.toml"];
        let flags = parse(&args);
        assert_eq!(flags.given["file"], ["a.yaml", "b.yaml", "c.yaml"]);
        assert_eq!(flags.given["shadow"], ["true"]);
        assert_eq!(flags.config, Some("x.toml".into()));
        assert_eq!(parse(&["--shadow=false"]).given["shadow"], ["false"]);
    }
}
