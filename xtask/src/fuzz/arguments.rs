//! What was typed after `cargo xtask fuzz`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::{TARGETS, Target};

/// Long enough to reach most of what the corpora and dictionaries lead to, short enough for a coffee.
const SECONDS: u64 = 60;

#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) seconds: u64,
    pub(super) targets: Vec<&'static Target>,
    pub(super) keep: bool,
    pub(super) replay: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn parse(args: &[String]) -> Result<Self> {
        let mut parsed = Self { seconds: SECONDS, targets: Vec::new(), keep: false, replay: None };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            // `--seconds 5` and `--seconds=5`.
            let (name, joined) = arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
            let mut value = || joined.or_else(|| args.next().map(String::as_str)).with_context(|| missing(name));
            match name {
                "--seconds" => parsed.seconds = seconds(value()?)?,
                "--target" => parsed.targets.push(target(value()?)?),
                "--replay" => parsed.replay = Some(PathBuf::from(value()?)),
                "--keep" if joined.is_none() => parsed.keep = true,
                _ => bail!("unexpected argument `{arg}`; see --help"),
            }
        }
        if parsed.replay.is_some() {
            parsed.only()?;
        }
        if parsed.targets.is_empty() {
            parsed.targets = TARGETS.iter().collect();
        }
        Ok(parsed)
    }

    /// The target that a file is for.
    pub(super) fn only(&self) -> Result<&'static Target> {
        match self.targets.as_slice() {
            [target] => Ok(target),
            _ => bail!("--replay needs one --target: the bytes mean something to that one only"),
        }
    }
}

fn missing(name: &str) -> String {
    format!("{name} needs a value; see --help")
}

fn seconds(text: &str) -> Result<u64> {
    // libFuzzer takes 0 for no limit, and an `int`.
    let seconds = text.parse::<u64>().ok().filter(|seconds| (1..=i32::MAX as u64).contains(seconds));
    seconds.with_context(|| format!("--seconds: `{text}` is not a number of seconds, at least 1"))
}

fn target(name: &str) -> Result<&'static Target> {
    TARGETS.iter().find(|target| target.name == name).with_context(|| {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        format!("there is no target `{name}`; there are {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::{Arguments, SECONDS, TARGETS};

    fn parse(line: &str) -> anyhow::Result<Arguments> {
        Arguments::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn without_arguments_all_targets_run_for_a_minute() {
        let arguments = parse("").unwrap();
        assert_eq!((arguments.seconds, arguments.targets.len(), arguments.keep), (SECONDS, TARGETS.len(), false));
    }

    #[test]
    fn targets_and_time_are_chosen() {
        let arguments = parse("--seconds 5 --target=abi --target context --keep").unwrap();
        let names: Vec<_> = arguments.targets.iter().map(|target| target.name).collect();
        assert_eq!((arguments.seconds, names, arguments.keep), (5, vec!["abi", "context"], true));
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (line, words) in [
            ("--target nothing", "`nothing`; there are snapshot, abi"),
            ("--seconds 0", "`0`"),
            ("--seconds 1.5", "`1.5`"),
            ("--seconds", "--seconds needs a value"),
            ("--replay file", "one --target"),
            ("--target abi --target context --replay file", "one --target"),
            ("--keep=yes", "`--keep=yes`"),
            ("abi", "`abi`"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
