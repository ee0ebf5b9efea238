//! `bascule api`: any request, with the client's URL and token.

use std::io::Write as _;

use admin_api::{ClientError, client::Call};
use anyhow::Context as _;

use super::{
    exit::{Exit, Failure, Outcome},
    plane::{Connection, Session, explain},
    target,
};

const EXAMPLES: &str = "\
Examples:
  bascule api GET /api/v1/apps
  bascule api POST /api/v1/apps --body '{\"name\": \"web\"}'
  bascule api PATCH /api/v1/apps/web --header 'If-Match: \"3\"' --body - < patch.json
  bascule api PUT '/api/v1/apply?dryRun=true' --type application/yaml --body @bascule.yaml

The answer's body is written to stdout as it came, also when the request was refused; the exit
code is then that of the refusal. GET /openapi.json describes all operations.";

/// Arguments of `api`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The method
    #[arg(value_name = "METHOD")]
    method: String,
    /// The path with its query, encoded
    #[arg(value_name = "PATH", value_parser = path)]
    path: String,
    /// The body; @FILE takes it from a file, - from stdin
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    body: Option<String>,
    /// The body's media type
    #[arg(long = "type", value_name = "TYPE", default_value = "application/json")]
    media_type: String,
    /// A head field; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    #[command(flatten)]
    connection: Connection,
}

fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err("a path begins with /".to_owned()) }
}

pub(super) fn run(args: &Args) -> Outcome {
    let call = call(args)?;
    args.connection.run(async |session| exchange(session, call).await)
}

fn call(args: &Args) -> anyhow::Result<Call> {
    let method = args.method.to_ascii_uppercase().parse();
    let method = method.map_err(|_| Failure::new(Exit::Usage, format!("{:?} is no method", args.method)))?;
    let unfit = |error: ClientError| explain(error, None);
    let mut call = Call::raw(method, args.path.as_str());
    if let Some(body) = &args.body {
        let body = match body.strip_prefix('@') {
            Some(path) => target::read(path.as_ref())?,
            None if body == "-" => target::read("-".as_ref())?,
            None => body.clone(),
        };
        call = call.bytes(body).header("content-type", &args.media_type).map_err(unfit)?;
    }
    for header in &args.headers {
        let (name, value) = header.split_once(':').context("a head field is NAME: VALUE")?;
        call = call.header(name.trim(), value.trim()).map_err(unfit)?;
    }
    Ok(call)
}

async fn exchange(session: &Session, call: Call) -> Outcome {
    let answer = session.client.exchange(call).await?;
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&answer.body)?;
    if !answer.body.is_empty() && !answer.body.ends_with(b"\n") {
        writeln!(stdout)?;
    }
    stdout.flush()?;
    match (answer.status.is_success(), answer.problem()) {
        (true, _) => Ok(Exit::Ok),
        (false, Some(problem)) => Err(explain(ClientError::Problem(Box::new(problem)), None).into()),
        (false, None) => {
            let status = answer.status.as_u16();
            Err(Failure::new(super::plane::exit_of(status), format!("the answer is {}", answer.status)).into())
        }
    }
}
