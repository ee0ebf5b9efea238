//! `bascule audit`: who did what, when and why, and whether the record is whole.

use std::{io::Write as _, time::Duration};

use admin_api::{
    ClientError,
    answers::AuditEntry,
    client::{AuditQuery, Events},
};
use clap::builder::RangedU64ValueParser;

use super::{
    exit::{Exit, Failure, Outcome},
    noun::Noun,
    output::Paint,
    plane::Session,
    table::Table,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  bascule audit list --app web -e production --limit 20
  bascule audit list --operation rollback --json | jq '.items[].reason'
  bascule audit list --follow --json
  bascule audit verify --sequence 120 --hash 3f9c…

`verify` ends with 1 when an entry is not what it was. Keep a place and its hash elsewhere to
prove that nobody wrote the whole chain anew.";

/// How often a control plane that is gone is looked for, and how long between.
const ATTEMPTS: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);

/// Verbs of `audit`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Verb {
    /// List entries, the newest first.
    List(List),
    /// Walk the chain of hashes from the first entry to the last.
    Verify {
        /// Place of an entry of which the hash is known from elsewhere
        #[arg(long, value_name = "N", requires = "hash")]
        sequence: Option<u32>,
        /// That hash
        #[arg(long, value_name = "HASH", requires = "sequence")]
        hash: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only of this app
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Only of this environment
    #[arg(long, short, value_name = "NAME")]
    environment: Option<String>,
    /// Only this operation, e.g. putTargeting
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Only what begins with this, e.g. flags/
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// Only by the token with this id
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Only of this request
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "50", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    limit: usize,
    /// Then go on with what happens, the newest last; one JSON object per line with --json
    #[arg(long)]
    follow: bool,
}

pub(super) fn run(args: &Noun<Verb>) -> Outcome {
    args.connection.run(async |session| match &args.verb {
        Verb::List(wanted) if wanted.follow => follow(session, wanted).await,
        Verb::List(wanted) => {
            let entries = session.client.list_audit(&wanted.query(Some(wanted.limit))).await?;
            session.say(&entries.json, || table(&entries.value.items).text(Paint::stdout()))?;
            Ok(Exit::Ok)
        }
        Verb::Verify { sequence, hash } => verify(session, sequence.zip(hash.as_deref())).await,
    })
}

impl List {
    fn query(&self, limit: Option<usize>) -> AuditQuery {
        let filters = [
            ("app", &self.app),
            ("environment", &self.environment),
            ("operation", &self.operation),
            ("subject", &self.subject),
            ("actor", &self.actor),
            ("requestId", &self.request),
        ];
        let filters = filters.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        AuditQuery { filters, limit }
    }
}

async fn verify(session: &Session, known: Option<(u32, &str)>) -> Outcome {
    let verdict = session.client.verify_audit(known).await?;
    let value = &verdict.value;
    session.say(&verdict.json, || match &value.broken {
        None => format!("{} entries, all as they were; the last hash is {}\n", value.entries, value.head),
        Some(broken) => format!("entry {} is not what it was: {}\n", broken.sequence, broken.why),
    })?;
    if value.intact {
        return Ok(Exit::Ok);
    }
    Err(Failure::new(Exit::Unexpected, "the audit is not whole").into())
}

/// What there is, and then whatever the stream of changes announces: the stream says that something happened, the list
/// says what.
async fn follow(session: &Session, wanted: &List) -> Outcome {
    let mut events = session.client.events().await?;
    let mut entries = session.client.list_audit(&wanted.query(Some(wanted.limit))).await?.value.items;
    let mut seen = 0;
    loop {
        for entry in entries.iter().rev() {
            seen = seen.max(entry.sequence);
            print(session, entry)?;
        }
        match events.next().await {
            Ok(Some(_)) => {}
            // What happens until it is there again is in the list.
            Ok(None) | Err(ClientError::Unreachable { .. }) => events = again(session).await?,
            Err(error) => return Err(error.into()),
        }
        entries = newer(session, wanted, seen).await?;
    }
}

/// The stream, from a control plane that is restarting.
async fn again(session: &Session) -> Result<Events, ClientError> {
    eprintln!("the stream of changes ended; connecting again");
    let mut attempts = 0;
    loop {
        match session.client.events().await {
            Err(ClientError::Unreachable { .. }) if attempts < ATTEMPTS => attempts += 1,
            other => return other,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// All entries behind that one, however many there are, the newest first.
async fn newer(session: &Session, wanted: &List, seen: i64) -> anyhow::Result<Vec<AuditEntry>> {
    let mut limit = 50;
    loop {
        let mut entries = session.client.list_audit(&wanted.query(Some(limit))).await?.value.items;
        if entries.len() < limit || entries.last().is_some_and(|oldest| oldest.sequence <= seen) {
            entries.retain(|entry| entry.sequence > seen);
            return Ok(entries);
        }
        limit *= 4;
    }
}

fn print(session: &Session, entry: &AuditEntry) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    if session.json {
        serde_json::to_writer(&mut stdout, entry).map_err(std::io::Error::from)?;
        writeln!(stdout)?;
    } else {
        let line = cells(entry).map(|cell| super::changes::clean(&cell)).join("  ");
        writeln!(stdout, "{}", line.trim_end())?;
    }
    stdout.flush()
}

fn cells(entry: &AuditEntry) -> [String; 7] {
    let place = [&entry.app, &entry.environment].map(|part| part.clone().unwrap_or_default());
    [
        entry.sequence.to_string(),
        entry.at.clone(),
        entry.actor_name.clone(),
        entry.operation.clone(),
        place.join("/").trim_end_matches('/').to_owned(),
        entry.subject.clone(),
        entry.reason.clone(),
    ]
}

fn table(entries: &[AuditEntry]) -> Table {
    let mut table = Table::new(&["#", "AT", "WHO", "OPERATION", "WHERE", "WHAT", "WHY"]);
    for entry in entries {
        table.row(cells(entry));
    }
    table
}
