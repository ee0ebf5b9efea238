//! `bascule decide`: the engine as a filter, one JSON context in, one decision out.
//!
//! A line that cannot be decided becomes an error object and the rest goes on. Buffers are reused
//! for all lines; output is flushed whenever the input has nothing more to give, so a person at
//! the other end of both pipes gets an answer to each line.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};

use clap::ValueEnum;
use edge_engine::{FlagIndex, FlagSelection, Snapshot, parse_rfc3339};
use serde_json::json;

use super::{
    exit::{Exit, Failure, Outcome},
    target::Target,
};
use crate::host::{Decider, Engine, EvaluateError, LoadError, LoadedSnapshot, Module};

const EXAMPLES: &str = "\
Examples:
  echo '{\"header\": {\"x-user-id\": \"ada\"}}' | bascule decide --file bascule.yaml -e production
  bascule decide -f bascule.yaml -e production --flags new-checkout < contexts.ndjson
  bascule decide -f bascule.yaml -e production --explain < one.json | jq .trace

A context is a JSON object, flat or nested: targetingKey, header.NAME, cookie.NAME, query.NAME,
http.host, http.path, http.method, ip, region, geo.country, now, and any attribute of your own.
A line that is no context gives {\"line\":N,\"error\":{\"code\":…,\"detail\":…}}; the exit code is then 1.";

/// A context is a few hundred bytes; a longer line is a mistake, and is skipped without being kept.
const MAX_LINE: usize = 1 << 20;
const BUFFER: usize = 256 << 10;

/// Arguments of `decide`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    target: Target,
    /// Which engine decides; both give the same answer
    #[arg(long, default_value = "native")]
    engine: EngineName,
    /// Add the trace: each rule, each condition with the value seen, bucket, range, result
    #[arg(long)]
    explain: bool,
    /// Only these flags, in this order
    #[arg(long, value_name = "KEY,…", value_delimiter = ',')]
    flags: Option<Vec<String>>,
    /// The time of every context that brings none, RFC 3339; the clock's by default
    #[arg(long, value_name = "TIME", value_parser = time)]
    now: Option<i64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum EngineName {
    Native,
    Wasm,
}

pub(super) fn run(args: &Args) -> Outcome {
    let engine = match args.engine {
        EngineName::Native => Engine::native(),
        EngineName::Wasm => Engine::wasm(Module::embedded()?),
    };
    let found = args.target.find()?;
    let document = serde_json::to_vec(&found.wire)?;
    let loaded = LoadedSnapshot::load(&document, &found.key, &engine).map_err(|error| match error {
        LoadError::Problems(problems) => found.explain(&problems),
        LoadError::Module(_) => anyhow::Error::new(error).context(format!("cannot load {}", found.file())),
    })?;
    let flags = args.flags.as_deref().map(|keys| indices(loaded.snapshot(), keys)).transpose()?;
    let mut filter = Filter {
        decider: loaded.decider()?,
        flags: flags.as_deref().map_or(FlagSelection::All, FlagSelection::These),
        now_ms: args.now,
        explain: args.explain,
        failed: false,
    };
    filter.run(std::io::stdin().lock(), std::io::stdout().lock())?;
    Ok(if filter.failed { Exit::Unexpected } else { Exit::Ok })
}

fn indices(snapshot: &Snapshot, keys: &[String]) -> anyhow::Result<Vec<FlagIndex>> {
    let index = |key: &String| {
        snapshot.flag_index(key).ok_or_else(|| {
            let known = snapshot.flags().iter().map(|flag| flag.key().as_str());
            let failure = Failure::new(Exit::NotFound, format!("there is no flag \"{key}\""));
            failure.with_help(edge_manifest::did_you_mean(key, known)).into()
        })
    };
    keys.iter().map(index).collect()
}

fn time(text: &str) -> Result<i64, String> {
    parse_rfc3339(text).ok_or_else(|| "write an RFC 3339 timestamp such as 2026-01-31T12:00:00Z".into())
}

struct Filter<'f> {
    decider: Decider,
    flags: FlagSelection<'f>,
    now_ms: Option<i64>,
    explain: bool,
    failed: bool,
}

impl Filter<'_> {
    fn run(&mut self, input: impl Read, output: impl Write) -> std::io::Result<()> {
        let mut input = BufReader::with_capacity(BUFFER, input);
        let mut output = BufWriter::with_capacity(BUFFER, output);
        let (mut line, mut answer) = (Vec::new(), Vec::new());
        for number in 1_u64.. {
            if input.buffer().is_empty() {
                output.flush()?;
            }
            line.clear();
            let read = input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            answer.clear();
            if read > MAX_LINE && !line.ends_with(b"\n") {
                skip_line(&mut input)?;
                self.fail(number, "LINE_TOO_LONG", &format!("a context has at most {MAX_LINE} bytes"), &mut answer);
            } else if line.trim_ascii().is_empty() {
                continue;
            } else {
                self.decide(number, &line, &mut answer);
            }
            answer.push(b'\n');
            output.write_all(&answer)?;
        }
        output.flush()
    }

    fn decide(&mut self, number: u64, line: &[u8], answer: &mut Vec<u8>) {
        let now_ms = self.now_ms.unwrap_or_else(super::now_ms);
        match self.decider.evaluate(line, self.flags, now_ms, self.explain, answer) {
            Ok(()) => {}
            Err(EvaluateError::Context(error)) => self.fail(number, error.code, &error.detail, answer),
            Err(error) => self.fail(number, "GENERAL", &error.to_string(), answer),
        }
    }

    #[cold]
    fn fail(&mut self, line: u64, code: &str, detail: &str, answer: &mut Vec<u8>) {
        self.failed = true;
        answer.clear();
        answer
            .extend_from_slice(json!({"line": line, "error": {"code": code, "detail": detail}}).to_string().as_bytes());
    }
}

/// Reads on to the end of the line without keeping it.
fn skip_line(input: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let (skip, done) = match memchr::memchr(b'\n', buffer) {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(skip);
        if done {
            return Ok(());
        }
    }
}
