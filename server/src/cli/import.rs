//! `bascule import`: definitions of another flag service become a bascule.yaml.
//!
//! What cannot be translated is refused by name; the file is then written only if that was asked for. What is left
//! out or differs is said on stderr, each with its place.

use std::{
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::ValueEnum;
use edge_engine::{AppName, EnvironmentName, Flagd};
use edge_manifest::{FlagdOptions, Imported, Note, NoteKind, import_flagd};
use serde_json::json;

use super::{
    exit::{Exit, Failure, Outcome},
    output::Paint,
    target,
};

const EXAMPLES: &str = "\
Examples:
  bascule import flagd flags.json --app web --output bascule.yaml
  bascule import flagd flags.json --app web --algorithm v3
  bascule import flagd flags.yaml --app web --partial --json | jq .notes

Every user keeps the variant that flagd gave. A flag that cannot be translated so is refused, with the place
and the construct, and nothing is written: exit code 2, unless --partial leaves such flags out. What has no
equivalent, and where flagd can answer otherwise, is listed on stderr. A bascule.yaml names a release for each
environment: the one that is written is called placeholder and leads nowhere.";

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where the definitions come from
    format: Format,
    /// Flag definitions, JSON or YAML; or - for stdin
    file: PathBuf,
    /// The app of the flags; by default the file's name up to its first dot
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// The environment that gets their targeting
    #[arg(long, short, value_name = "NAME", default_value = "production")]
    environment: String,
    /// The bucketing that gave users their variants: v2 in flagd itself and in JavaScript, v3 in Python and Rust
    #[arg(long, default_value = "v2")]
    algorithm: Algorithm,
    /// Where to write; a file that exists is not replaced. Stdout by default
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leave out the flags that cannot be translated
    #[arg(long)]
    partial: bool,
    /// One JSON document on stdout: the flags, all notes, and the text unless --output has it
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Definitions of flagd
    Flagd,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Algorithm {
    V2,
    V3,
}

pub(super) fn run(args: &Args) -> Outcome {
    let Format::Flagd = args.format;
    let options = options(args)?;
    let text = target::read(&args.file)?;
    let file = args.file.display().to_string();
    let imported = match import_flagd(&text, &file, &options) {
        Ok(imported) => imported,
        Err(findings) => {
            target::print(&findings);
            return Ok(Exit::Usage);
        }
    };
    let complete = !imported.is_partial();
    let wanted = complete || args.partial;
    if let (Some(output), true) = (&args.output, wanted) {
        write(output, &imported.yaml)?;
    }
    let mut stdout = std::io::stdout().lock();
    if args.json {
        let yaml = (wanted && args.output.is_none()).then_some(&imported.yaml);
        let answer = json!({
            "ok": complete, "file": file, "app": options.app, "environment": options.environment,
            "algorithm": options.algorithm.name(), "flags": imported.flags, "notes": imported.notes, "yaml": yaml,
        });
        serde_json::to_writer_pretty(&mut stdout, &answer).map_err(std::io::Error::from)?;
        writeln!(stdout)?;
    } else {
        print(&file, &imported.notes);
        summarise(&imported, wanted);
        if wanted && args.output.is_none() {
            stdout.write_all(imported.yaml.as_bytes())?;
        }
    }
    Ok(if wanted { Exit::Ok } else { Exit::Usage })
}

fn options(args: &Args) -> anyhow::Result<FlagdOptions> {
    let named = args.file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let named = named.split('.').next().unwrap_or_default();
    let usage = |error: edge_engine::InvalidName, option: &str| {
        let help = format!("name it with {option}");
        Failure::new(Exit::Usage, error.to_string()).with_help(help)
    };
    Ok(FlagdOptions {
        app: AppName::new(args.app.as_deref().unwrap_or(named)).map_err(|error| usage(error, "--app"))?,
        environment: EnvironmentName::new(args.environment.as_str()).map_err(|error| usage(error, "--environment"))?,
        algorithm: match args.algorithm {
            Algorithm::V2 => Flagd::V2,
            Algorithm::V3 => Flagd::V3,
        },
    })
}

/// Writes a file that is not there yet.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let created = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let message = format!("{} is there already", path.display());
            let help = "remove it, or choose another name".to_owned();
            return Err(Failure::new(Exit::Conflict, message).with_help(help).into());
        }
        created => created.with_context(|| format!("cannot write {}", path.display()))?,
    };
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// Prints notes as findings are printed.
fn print(file: &str, notes: &[Note]) {
    let paint = Paint::stderr();
    for note in notes {
        let place = format!("{file}:{}:{}", note.line, note.column);
        let kind = format!("{}[{}]", note.kind, note.code);
        let kind = match note.kind {
            NoteKind::Refused => paint.error(&kind),
            NoteKind::Dropped => paint.warning(&kind),
            NoteKind::Differs => paint.help(&kind),
        };
        let flag = note.flag.as_ref().map(|flag| format!("flag \"{flag}\": ")).unwrap_or_default();
        eprintln!("{}: {kind}: {flag}{}", paint.strong(&place), note.detail);
    }
}

fn summarise(imported: &Imported, wanted: bool) {
    let count = |kind| imported.notes.iter().filter(|note| note.kind == kind).count();
    let (refused, flags) = (count(NoteKind::Refused), imported.flags.len());
    let all = flags + refused;
    let rest = format!("{} left out, {} differ", count(NoteKind::Dropped), count(NoteKind::Differs));
    eprintln!("{flags} of {all} flags translated; {rest}");
    if !wanted {
        let help = Paint::stderr().help("help");
        eprintln!("  {help}: nothing was written; --partial leaves the refused flags out");
    }
}
