//! `bascule verdict replay`: what a control plane decided, computed again from the reports that it kept.
//!
//! Nothing of what it said then is used but the policy and the order: the same reports must give the same numbers, to the
//! last bit.

use admin_api::rollouts::{Rollout, RolloutTransition};
use anyhow::Context as _;
use rollout::{Grounds, Template};
use serde_json::Value;
use verdict::{Batch, Evidence, Names, Progress};

use super::super::changes::clean;
use super::super::exit::{Exit, Failure, Outcome};
use super::super::plane::{AppName, Connection, Session};
use super::super::{output::Paint, table::Table};

const EXAMPLES: &str = "\
Examples:
  bascule verdict replay -e production
  bascule verdict replay 7 -e production --json | jq '.decisions[] | select(.same | not)'

Exit code 0 when every decision comes out as it was, 1 when one does not.";

/// Arguments of `verdict replay`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Args {
    /// The rollout; by default the newest
    id: Option<u64>,
    /// The environment
    #[arg(long, short, value_name = "NAME")]
    environment: String,
    #[command(flatten)]
    app: AppName,
    #[command(flatten)]
    connection: Connection,
}

/// A decision, and what it comes to now.
#[derive(serde::Serialize)]
struct Decision {
    number: i64,
    to: String,
    same: bool,
    then: Value,
    now: Value,
}

pub(super) fn run(args: &Args) -> Outcome {
    args.connection.run(async |session| {
        let app = session.app(&args.app).await?;
        let rollout = session.client.get_rollout(&app, &args.environment, args.id).await?.value;
        let groups = groups(session, &app, &args.environment, rollout.head.id).await?;
        let decisions = replay(&rollout, &groups)?;
        let json = serde_json::json!({ "rollout": rollout.head.id, "decisions": decisions });
        session.say(&json, || text(&rollout, &decisions))?;
        let other = decisions.iter().filter(|decision| !decision.same).count();
        if other == 0 {
            return Ok(Exit::Ok);
        }
        Err(Failure::new(Exit::Unexpected, format!("{other} decisions do not come out as they were")).into())
    })
}

/// All groups of reports, each with its batches.
async fn groups(session: &Session, app: &str, environment: &str, id: i64) -> anyhow::Result<Vec<(i64, Vec<Batch>)>> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let part = session.client.get_rollout_reports(app, environment, id, after).await?.value;
        for group in part.groups {
            let batches = group.batches.into_iter().map(serde_json::from_value).collect::<Result<_, _>>();
            all.push((group.sequence, batches.with_context(|| format!("group {} cannot be read", group.sequence))?));
        }
        match part.next {
            Some(next) => after = next,
            None => return Ok(all),
        }
    }
}

fn replay(rollout: &Rollout, groups: &[(i64, Vec<Batch>)]) -> anyhow::Result<Vec<Decision>> {
    if rollout.transitions.first().is_some_and(|first| first.number != 1) {
        let message = format!("rollout {} has more decisions than are shown", rollout.head.id);
        return Err(Failure::new(Exit::Unexpected, message).into());
    }
    let template: Template = serde_json::from_value(rollout.plan.clone()).context("the plan cannot be read")?;
    let mut evidence = Evidence::new(template.verdict)?;
    let names = Names { candidate: &rollout.head.release, stable: &rollout.head.stable };
    let mut groups = groups.iter().peekable();
    let mut decisions = Vec::new();
    for transition in &rollout.transitions {
        while let Some((_, batches)) = groups.next_if(|(sequence, _)| *sequence <= transition.counted) {
            for batch in batches {
                let _ = evidence.add(batch);
            }
        }
        decisions.extend(again(transition, &evidence, names)?);
        if transition.begins_step {
            evidence.begin_step();
        }
    }
    Ok(decisions)
}

/// A decision that had evidence of this moment, computed again.
fn again(transition: &RolloutTransition, evidence: &Evidence, names: Names<'_>) -> anyhow::Result<Option<Decision>> {
    let Some(known) = &transition.evidence else { return Ok(None) };
    // What somebody decided later than the last count rests on that count, as it was then.
    if i64::try_from(known.batches).ok() != Some(transition.counted) {
        return Ok(None);
    }
    let progress: Progress = serde_json::from_value(known.progress.clone()).context("a decision cannot be read")?;
    let now = serde_json::to_value(Grounds::of(evidence, &progress, names, known.batches))?;
    let then = serde_json::to_value(known)?;
    let (number, to) = (transition.number, transition.to.clone());
    Ok(Some(Decision { number, to, same: now == then, then, now }))
}

fn text(rollout: &Rollout, decisions: &[Decision]) -> String {
    let mut table = Table::new(&["DECISION", "TO", "AGAIN", "SENTENCE"]);
    for Decision { number, to, same, now, .. } in decisions {
        let sentence = clean(now["sentence"].as_str().unwrap_or_default());
        table.row([number.to_string(), to.clone(), if *same { "the same" } else { "DIFFERS" }.to_owned(), sentence]);
    }
    let head = format!("rollout {} of {}", rollout.head.id, rollout.head.release);
    format!("{}\n{}", Paint::stdout().strong(&clean(&head)), table.text(Paint::stdout()))
}
