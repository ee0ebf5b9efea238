//! The operations of API v1 as methods, each named as its `operationId`.

use std::time::Duration;

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Answer, Call, Client, ClientError, Reply};
use crate::access::{MintedToken, NewToken, Token};
use crate::answers::{
    AuditEntry, AuditVerdict, CopyRequest, Edge, Outcome, PanicOverrideAnswer, PanicOverrideRequest, Republish,
    RollbackAnswer, RollbackRequest, Snapshot, SnapshotDiff, SnapshotHead, SnapshotRef, StaleFlag,
};
use crate::calibration::Calibration;
use crate::objects::{
    AppBody, EnvironmentBody, FlagBody, Named, Page, ReleaseBody, SegmentBody, TargetingBody, TrafficBody,
};
use crate::rollouts::{
    PreviewLinks, PreviewRequest, Rollout, RolloutHead, RolloutReports, RolloutTemplate, StartRollout,
};

/// Items of one part of a list, the most that there may be.
const PART: usize = 200;
/// What the control plane waits for edges when nobody says how long.
const ROLLBACK_WAIT: Duration = Duration::from_secs(5);

/// How a change is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'c> {
    /// Only say what would change.
    pub dry_run: bool,
    /// Why, for the audit.
    pub reason: Option<&'c str>,
    /// The revision that was seen; `None` for an object that must be new.
    pub seen: Option<i64>,
}

/// How a file is applied.
#[derive(Debug, Clone, Copy, Default)]
pub struct Apply {
    /// Delete what it does not mention.
    pub prune: bool,
    /// Bring back releases that were rolled back.
    pub allow_rolled_back: bool,
}

impl Change<'_> {
    fn on(self, call: Call) -> Call {
        let call = match self.seen {
            Some(revision) => call.if_match(revision),
            None => call.if_new(),
        };
        self.without_revision(call)
    }

    fn without_revision(self, call: Call) -> Call {
        call.query_if("dryRun", self.dry_run).query_some("reason", self.reason)
    }
}

/// Which entries of the audit.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Pairs of a query parameter of `listAudit` and its value.
    pub filters: Vec<(&'static str, String)>,
    /// At most so many.
    pub limit: Option<usize>,
}

fn get(segments: &[&str]) -> Call {
    Call::v1(Method::GET, segments)
}

fn of_environment<'s>(app: &'s str, environment: &'s str, rest: &[&'s str]) -> Vec<&'s str> {
    [&["apps", app, "environments", environment], rest].concat()
}

impl Client {
    /// All parts of a list as one, or so many items of it.
    pub async fn list<T: DeserializeOwned>(
        &self,
        call: Call,
        limit: Option<usize>,
    ) -> Result<Reply<Page<T>>, ClientError> {
        let wanted = limit.unwrap_or(usize::MAX);
        let part = wanted.clamp(1, PART).to_string();
        let mut whole: Option<Reply<Page<T>>> = None;
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let call = call.clone().query("limit", &part).query_some("cursor", cursor.as_deref());
            let mut next: Reply<Page<T>> = self.ask(call).await?;
            if let Some(Value::Array(part)) = next.json.get_mut("items").map(Value::take) {
                items.extend(part);
            }
            cursor = next.value.next_cursor.take();
            let whole = match &mut whole {
                Some(whole) => {
                    whole.value.items.append(&mut next.value.items);
                    whole
                }
                None => whole.insert(next),
            };
            if cursor.is_none() || whole.value.items.len() >= wanted {
                break;
            }
        }
        let mut whole = whole.ok_or_else(|| ClientError::Request("a list has a part".to_owned()))?;
        whole.value.items.truncate(wanted);
        items.truncate(wanted);
        whole.json = Value::Object(Map::from_iter([("items".to_owned(), Value::Array(items))]));
        Ok(whole)
    }

    /// `listApps`.
    pub async fn list_apps(&self) -> Result<Reply<Page<Named<AppBody>>>, ClientError> {
        self.list(get(&["apps"]), None).await
    }

    /// `listEnvironments`.
    pub async fn list_environments(&self, app: &str) -> Result<Reply<Page<Named<EnvironmentBody>>>, ClientError> {
        self.list(get(&["apps", app, "environments"]), None).await
    }

    /// `apply`.
    pub async fn apply(&self, manifest: String, how: Apply, change: Change<'_>) -> Result<Reply<Outcome>, ClientError> {
        let call = change.without_revision(Call::v1(Method::PUT, &["apply"])).query_if("prune", how.prune);
        let call = call.query_if("allowRolledBack", how.allow_rolled_back);
        self.ask(call.body("application/yaml", manifest)).await
    }

    /// `export`.
    pub async fn export(&self, app: &str) -> Result<Answer, ClientError> {
        self.send(get(&["apps", app, "export"])).await
    }

    /// `listFlags`.
    pub async fn list_flags(&self, app: &str, archived: bool) -> Result<Reply<Page<Named<FlagBody>>>, ClientError> {
        self.list(get(&["apps", app, "flags"]).query_if("archived", archived), None).await
    }

    /// `getFlag`.
    pub async fn get_flag(&self, app: &str, flag: &str) -> Result<Reply<Named<FlagBody>>, ClientError> {
        self.ask(get(&["apps", app, "flags", flag])).await
    }

    /// `createFlag`. A dry run answers an [`Outcome`].
    pub async fn create_flag(&self, app: &str, flag: &Value, change: Change<'_>) -> Result<Reply<Value>, ClientError> {
        let call = Call::v1(Method::POST, &["apps", app, "flags"]).json(flag)?;
        self.ask(change.without_revision(call)).await
    }

    /// `updateFlag`: a merge patch.
    pub async fn update_flag(
        &self,
        app: &str,
        flag: &str,
        patch: &Value,
        change: Change<'_>,
    ) -> Result<Reply<Value>, ClientError> {
        let call = Call::v1(Method::PATCH, &["apps", app, "flags", flag]).json(patch)?;
        self.ask(change.on(call)).await
    }

    /// `deleteFlag`.
    pub async fn delete_flag(&self, app: &str, flag: &str, change: Change<'_>) -> Result<Answer, ClientError> {
        self.send(change.on(Call::v1(Method::DELETE, &["apps", app, "flags", flag]))).await
    }

    /// `listStaleFlags`.
    pub async fn list_stale_flags(&self, app: &str, days: u32) -> Result<Reply<Page<StaleFlag>>, ClientError> {
        self.ask(get(&["apps", app, "stale-flags"]).query("days", &days.to_string())).await
    }

    /// `listTargetings`.
    pub async fn list_targetings(
        &self,
        app: &str,
        environment: &str,
    ) -> Result<Reply<Page<Named<TargetingBody>>>, ClientError> {
        self.list(get(&of_environment(app, environment, &["flags"])), None).await
    }

    /// `getTargeting`.
    pub async fn get_targeting(
        &self,
        app: &str,
        environment: &str,
        flag: &str,
    ) -> Result<Reply<Named<TargetingBody>>, ClientError> {
        self.ask(get(&of_environment(app, environment, &["flags", flag]))).await
    }

    /// `putTargeting`.
    pub async fn put_targeting(
        &self,
        app: &str,
        environment: &str,
        flag: &str,
        targeting: &Value,
        change: Change<'_>,
    ) -> Result<Reply<Value>, ClientError> {
        let call = Call::v1(Method::PUT, &of_environment(app, environment, &["flags", flag])).json(targeting)?;
        self.ask(change.on(call)).await
    }

    /// `copyTargeting`.
    pub async fn copy_targeting(
        &self,
        app: &str,
        environment: &str,
        flag: &str,
        copy: &CopyRequest,
        dry_run: bool,
    ) -> Result<Reply<Outcome>, ClientError> {
        let call = Call::v1(Method::POST, &of_environment(app, environment, &["flags", flag, "copy"])).json(copy)?;
        self.ask(call.query_if("dryRun", dry_run)).await
    }

    /// `listSegments`.
    pub async fn list_segments(&self, app: &str) -> Result<Reply<Page<Named<SegmentBody>>>, ClientError> {
        self.list(get(&["apps", app, "segments"]), None).await
    }

    /// `getSegment`.
    pub async fn get_segment(&self, app: &str, segment: &str) -> Result<Reply<Named<SegmentBody>>, ClientError> {
        self.ask(get(&["apps", app, "segments", segment])).await
    }

    /// `putSegment`.
    pub async fn put_segment(
        &self,
        app: &str,
        segment: &str,
        body: &Value,
        change: Change<'_>,
    ) -> Result<Reply<Value>, ClientError> {
        self.ask(change.on(Call::v1(Method::PUT, &["apps", app, "segments", segment]).json(body)?)).await
    }

    /// `deleteSegment`.
    pub async fn delete_segment(&self, app: &str, segment: &str, change: Change<'_>) -> Result<Answer, ClientError> {
        self.send(change.on(Call::v1(Method::DELETE, &["apps", app, "segments", segment]))).await
    }

    /// `listReleases`.
    pub async fn list_releases(&self, app: &str) -> Result<Reply<Page<Named<ReleaseBody>>>, ClientError> {
        self.list(get(&["apps", app, "releases"]), None).await
    }

    /// `getRelease`.
    pub async fn get_release(&self, app: &str, release: &str) -> Result<Reply<Named<ReleaseBody>>, ClientError> {
        self.ask(get(&["apps", app, "releases", release])).await
    }

    /// `createRelease`.
    pub async fn create_release(
        &self,
        app: &str,
        release: &Value,
        change: Change<'_>,
    ) -> Result<Reply<Value>, ClientError> {
        let call = Call::v1(Method::POST, &["apps", app, "releases"]).json(release)?;
        self.ask(change.without_revision(call)).await
    }

    /// `getTraffic`.
    pub async fn get_traffic(&self, app: &str, environment: &str) -> Result<Reply<Named<TrafficBody>>, ClientError> {
        self.ask(get(&of_environment(app, environment, &["traffic"]))).await
    }

    /// `putTraffic`.
    pub async fn put_traffic(
        &self,
        app: &str,
        environment: &str,
        traffic: &Value,
        change: Change<'_>,
    ) -> Result<Reply<Value>, ClientError> {
        let call = Call::v1(Method::PUT, &of_environment(app, environment, &["traffic"])).json(traffic)?;
        self.ask(change.on(call)).await
    }

    /// `rollback`. The answer comes when all edges have acknowledged, so it may take `wait_ms` longer than others.
    pub async fn rollback(
        &self,
        app: &str,
        environment: &str,
        request: &RollbackRequest,
    ) -> Result<Reply<RollbackAnswer>, ClientError> {
        let wait = request.wait_ms.map_or(ROLLBACK_WAIT, |wait| Duration::from_millis(wait.into()));
        let call = Call::v1(Method::POST, &of_environment(app, environment, &["rollback"])).json(request)?;
        self.ask(call.within(self.timeout + wait)).await
    }

    /// `startRollout`; a dry run answers what would be started.
    pub async fn start_rollout(
        &self,
        app: &str,
        environment: &str,
        request: &StartRollout,
        dry_run: bool,
    ) -> Result<Reply<Rollout>, ClientError> {
        let call = Call::v1(Method::POST, &of_environment(app, environment, &["rollouts"])).json(request)?;
        self.ask(call.query_if("dryRun", dry_run)).await
    }

    /// `listRollouts`, the newest first.
    pub async fn list_rollouts(
        &self,
        app: &str,
        environment: &str,
        limit: Option<usize>,
    ) -> Result<Reply<Page<RolloutHead>>, ClientError> {
        self.list(get(&of_environment(app, environment, &["rollouts"])), limit).await
    }

    /// `getRollout`; without an id the newest.
    pub async fn get_rollout(
        &self,
        app: &str,
        environment: &str,
        id: Option<u64>,
    ) -> Result<Reply<Rollout>, ClientError> {
        let id = id.map_or_else(|| "current".to_owned(), |id| id.to_string());
        self.ask(get(&of_environment(app, environment, &["rollouts", &id]))).await
    }

    /// `listRolloutTemplates`.
    pub async fn list_rollout_templates(
        &self,
        app: &str,
        environment: &str,
    ) -> Result<Reply<Page<Named<RolloutTemplate>>>, ClientError> {
        self.list(get(&of_environment(app, environment, &["rollout-templates"])), None).await
    }

    /// `getRolloutTemplate`.
    pub async fn get_rollout_template(
        &self,
        app: &str,
        environment: &str,
        template: &str,
    ) -> Result<Reply<Named<RolloutTemplate>>, ClientError> {
        self.ask(get(&of_environment(app, environment, &["rollout-templates", template]))).await
    }

    /// `putRolloutTemplate`.
    pub async fn put_rollout_template(
        &self,
        app: &str,
        environment: &str,
        template: &str,
        body: &Value,
        change: Change<'_>,
    ) -> Result<Reply<Value>, ClientError> {
        let path = of_environment(app, environment, &["rollout-templates", template]);
        self.ask(change.on(Call::v1(Method::PUT, &path).json(body)?)).await
    }

    /// `deleteRolloutTemplate`.
    pub async fn delete_rollout_template(
        &self,
        app: &str,
        environment: &str,
        template: &str,
        change: Change<'_>,
    ) -> Result<Answer, ClientError> {
        let path = of_environment(app, environment, &["rollout-templates", template]);
        self.send(change.on(Call::v1(Method::DELETE, &path))).await
    }

    /// `getCalibration`: how often stable, judged against itself, raised a false alarm.
    pub async fn get_calibration(&self, app: &str, environment: &str) -> Result<Reply<Calibration>, ClientError> {
        self.ask(get(&of_environment(app, environment, &["calibration"]))).await
    }

    /// `getRolloutReports`: a part of what a rollout was judged by.
    pub async fn get_rollout_reports(
        &self,
        app: &str,
        environment: &str,
        id: i64,
        after: i64,
    ) -> Result<Reply<RolloutReports>, ClientError> {
        let path = of_environment(app, environment, &["rollouts"]);
        let id = id.to_string();
        let call = get(&[path.as_slice(), &[id.as_str(), "reports"]].concat());
        self.ask(call.query("after", &after.to_string())).await
    }

    /// `pauseRollout`, `resumeRollout`, `approveRollout`, `promoteRollout`, `abortRollout`, `retryRollout`: the verb is the end of the path.
    pub async fn act_on_rollout(
        &self,
        app: &str,
        environment: &str,
        verb: &str,
        action: &(impl Serialize + Sync),
    ) -> Result<Reply<Rollout>, ClientError> {
        let path = of_environment(app, environment, &["rollouts", "current", verb]);
        self.ask(Call::v1(Method::POST, &path).json(action)?).await
    }

    /// `previewRollout`.
    pub async fn preview_rollout(
        &self,
        app: &str,
        environment: &str,
        request: &PreviewRequest,
    ) -> Result<Reply<PreviewLinks>, ClientError> {
        let path = of_environment(app, environment, &["rollouts", "current", "preview-links"]);
        self.ask(Call::v1(Method::POST, &path).json(request)?).await
    }

    /// `signPanicOverride`.
    pub async fn sign_panic_override(
        &self,
        app: &str,
        environment: &str,
        request: &PanicOverrideRequest,
    ) -> Result<Reply<PanicOverrideAnswer>, ClientError> {
        self.ask(Call::v1(Method::POST, &of_environment(app, environment, &["panic-override"])).json(request)?).await
    }

    /// `listSnapshots`.
    pub async fn list_snapshots(
        &self,
        app: &str,
        environment: &str,
        limit: Option<usize>,
    ) -> Result<Reply<Page<SnapshotHead>>, ClientError> {
        self.list(get(&of_environment(app, environment, &["snapshots"])), limit).await
    }

    /// `getSnapshot`.
    pub async fn get_snapshot(
        &self,
        app: &str,
        environment: &str,
        number: u64,
    ) -> Result<Reply<Snapshot>, ClientError> {
        self.ask(get(&of_environment(app, environment, &["snapshots", &number.to_string()]))).await
    }

    /// `diffSnapshots`.
    pub async fn diff_snapshots(
        &self,
        app: &str,
        environment: &str,
        from: u64,
        to: u64,
    ) -> Result<Reply<SnapshotDiff>, ClientError> {
        let (from, to) = (from.to_string(), to.to_string());
        self.ask(get(&of_environment(app, environment, &["snapshots", &from, "diff", &to]))).await
    }

    /// `publishSnapshot`: an old one under a new number.
    pub async fn publish_snapshot(
        &self,
        app: &str,
        environment: &str,
        number: u64,
        reason: &str,
    ) -> Result<Reply<SnapshotRef>, ClientError> {
        let path = of_environment(app, environment, &["snapshots"]);
        let number = number.to_string();
        let path = [path.as_slice(), &[number.as_str(), "publish"]].concat();
        self.ask(Call::v1(Method::POST, &path).json(&Republish { reason: reason.to_owned() })?).await
    }

    /// `listEdges`.
    pub async fn list_edges(&self) -> Result<Reply<Page<Edge>>, ClientError> {
        self.ask(get(&["edges"])).await
    }

    /// `listAudit`, the newest first.
    pub async fn list_audit(&self, query: &AuditQuery) -> Result<Reply<Page<AuditEntry>>, ClientError> {
        let call = query.filters.iter().fold(get(&["audit"]), |call, (name, value)| call.query(name, value));
        self.list(call, query.limit).await
    }

    /// `verifyAudit`; `known` is the place and the hash of an entry, known from elsewhere.
    pub async fn verify_audit(&self, known: Option<(u32, &str)>) -> Result<Reply<AuditVerdict>, ClientError> {
        let call = get(&["audit", "verify"]);
        let call = match known {
            Some((sequence, hash)) => call.query("sequence", &sequence.to_string()).query("hash", hash),
            None => call,
        };
        self.ask(call).await
    }

    /// `listTokens`.
    pub async fn list_tokens(&self) -> Result<Reply<Page<Token>>, ClientError> {
        self.list(get(&["tokens"]), None).await
    }

    /// `createToken`.
    pub async fn create_token(&self, new: &NewToken) -> Result<Reply<MintedToken>, ClientError> {
        self.ask(Call::v1(Method::POST, &["tokens"]).json(new)?).await
    }

    /// `revokeToken`.
    pub async fn revoke_token(&self, token: &str) -> Result<Answer, ClientError> {
        self.send(Call::v1(Method::DELETE, &["tokens", token])).await
    }
}
