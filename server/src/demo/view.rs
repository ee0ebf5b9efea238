//! What people and programs see of the demo: a picture that is redrawn, plain lines, or NDJSON.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use admin_api::rollouts::Rollout;
use serde_json::json;

use super::{
    board::{Board, Sample},
    site,
    walk::{Change, Outcome},
};
use crate::cli::Paint;

/// Between two samples: long enough for a steady rate, short enough to look alive.
const SAMPLE: Duration = Duration::from_millis(500);
const BAR: usize = 24;

/// What does not change while the demo runs.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) gateways: Vec<String>,
    pub(super) admin: String,
    pub(super) ops: String,
    pub(super) engine: String,
    pub(super) visitors: usize,
}

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Terminal,
    Lines,
    Json,
}

impl Style {
    /// JSON when asked for, a picture where one can be redrawn.
    pub(super) fn of(json: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match (json, std::io::stdout().is_terminal() && !dumb) {
            (true, _) => Self::Json,
            (false, true) => Self::Terminal,
            (false, false) => Self::Lines,
        }
    }
}

/// Writes to stdout.
pub(super) struct View {
    style: Style,
    paint: Paint,
    setting: Setting,
    board: Arc<Board>,
    sampled: Instant,
    sample: Sample,
    /// Requests per second between the last two samples.
    rate: f64,
    changes: Vec<Change>,
    /// Where the rollout is, and what is known.
    now: [String; 2],
    outcome: Option<Outcome>,
    /// Lines of the picture that is on the screen.
    drawn: usize,
}

impl View {
    pub(super) fn new(style: Style, setting: Setting, board: Arc<Board>) -> std::io::Result<Self> {
        let (paint, sampled) = (Paint::stdout(), Instant::now());
        let mut view = Self {
            style,
            paint,
            setting,
            board,
            sampled,
            sample: Sample::default(),
            rate: 0.0,
            changes: Vec::new(),
            now: Default::default(),
            outcome: None,
            drawn: 0,
        };
        view.begin()?;
        Ok(view)
    }

    fn begin(&mut self) -> std::io::Result<()> {
        let Setting { gateways, admin, ops, engine, visitors } = &self.setting;
        let gateway = gateways.first().map_or("", String::as_str);
        let text = match self.style {
            Style::Terminal => String::new(),
            Style::Json => {
                let event = json!({
                    "event": "started", "gateway": gateway, "gateways": gateways, "admin": admin, "ops": ops,
                    "engine": engine, "visitors": visitors,
                });
                format!("{event}\n")
            }
            Style::Lines => format!(
                "bascule demo: {visitors} visitors at {}, engine {}\n\
                 control plane {admin}\n\
                 blue {} is active, green {} is the candidate\n\n{HEADING}\n",
                places(gateways),
                short(engine),
                site::BLUE_RELEASE,
                site::GREEN_RELEASE
            ),
        };
        write(&text)
    }

    /// Shows the present, when it is time.
    pub(super) fn tick(&mut self, wanted: u32) -> std::io::Result<()> {
        let elapsed = self.sampled.elapsed();
        if elapsed < SAMPLE {
            return Ok(());
        }
        let sample = self.board.sample();
        self.rate = f64::from(u32::try_from(sample.requests - self.sample.requests).unwrap_or(u32::MAX))
            / elapsed.as_secs_f64();
        (self.sampled, self.sample) = (Instant::now(), sample);
        match self.style {
            Style::Terminal => self.draw(wanted),
            Style::Lines => Ok(()),
            Style::Json => write(&format!("{}\n", self.sample_event(wanted))),
        }
    }

    fn sample_event(&self, wanted: u32) -> serde_json::Value {
        let sample = &self.sample;
        json!({
            "event": "sample", "wantedPercent": wanted, "measuredPercent": round(share(sample.served[1], sample)),
            "requestsPerSecond": self.rate.round(), "p50Ms": millis(sample.p50_us), "p99Ms": millis(sample.p99_us),
            "requests": sample.requests, "errors": sample.errors, "flapped": sample.flaps,
        })
    }

    /// Shows a change that is over.
    pub(super) fn change(&mut self, change: &Change) -> std::io::Result<()> {
        if change.from == 0 {
            // A walk begins anew; the table of the last one would grow out of the screen.
            self.changes.clear();
            self.outcome = None;
        }
        self.changes.push(change.clone());
        let measured = round(share(self.sample.served[1], &self.sample));
        match self.style {
            Style::Terminal => self.draw(change.to),
            Style::Lines => write(&format!("{}\n{}", self.row(change), acknowledgements(change))),
            Style::Json => {
                let event = json!({
                    "event": "change", "fromPercent": change.from, "toPercent": change.to, "rollback": change.rollback,
                    "measuredPercent": measured, "moved": change.moved, "lastAtOldMs": round(change.last_at_old_ms),
                    "acknowledgedMs": round(change.acknowledged_ms), "flapped": change.flapped, "edges": change.edges,
                });
                write(&format!("{event}\n"))
            }
        }
    }

    /// Keeps where the rollout is, for the picture.
    pub(super) fn rollout(&mut self, rollout: &Rollout) {
        let head = &rollout.head;
        let step = head.step.map_or_else(String::new, |step| format!(" {step} of {}", head.steps));
        let known = rollout.evidence.as_ref().map_or("", |evidence| evidence.sentence.as_str());
        self.now = [format!("rollout: {}{step}", head.state), known.to_owned()];
    }

    /// Shows how a walk ended.
    pub(super) fn outcome(&mut self, outcome: &Outcome) -> std::io::Result<()> {
        self.outcome = Some(outcome.clone());
        match self.style {
            Style::Terminal => self.draw(0),
            Style::Lines => write(&format!("\n{}", told(outcome, self.setting.visitors))),
            Style::Json => {
                let Outcome { state, sentence, verified, detected_ms, rolled_back_ms, hurt } = outcome;
                let event = json!({
                    "event": "outcome", "state": state, "sentence": sentence, "verified": verified,
                    "detectedMs": detected_ms, "rolledBackMs": rolled_back_ms, "visitorsHurt": hurt,
                });
                write(&format!("{event}\n"))
            }
        }
    }

    /// The last words.
    pub(super) fn finish(&mut self) -> std::io::Result<()> {
        let sample = self.board.sample();
        let ok = sample.errors == 0 && sample.flaps == 0;
        match self.style {
            Style::Json => {
                let event = json!({
                    "event": "finished", "ok": ok, "requests": sample.requests, "errors": sample.errors,
                    "flapped": sample.flaps,
                });
                write(&format!("{event}\n"))
            }
            Style::Lines | Style::Terminal => {
                let verdict = format!(
                    "{} requests, {} errors; {} of {} visitors went back and forth",
                    sample.requests, sample.errors, sample.flaps, self.setting.visitors
                );
                let verdict = if ok { self.paint.good(&verdict) } else { self.paint.error(&verdict) };
                write(&format!("\n{verdict}\n"))
            }
        }
    }

    fn draw(&mut self, wanted: u32) -> std::io::Result<()> {
        let picture = self.picture(wanted);
        // Back to the first line of the last picture, then each line anew.
        let up = if self.drawn == 0 { String::new() } else { format!("\u{1b}[{}A", self.drawn) };
        self.drawn = picture.lines().count();
        let lines = picture.lines().fold(String::new(), |lines, line| lines + line + "\u{1b}[K\n");
        write(&format!("{up}{lines}\u{1b}[J"))
    }

    /// The whole picture, at most 80 columns wide.
    fn picture(&self, wanted: u32) -> String {
        let Setting { gateways, admin, ops, engine, visitors } = &self.setting;
        let gateway = gateways.first().map_or("", String::as_str);
        let (paint, sample) = (self.paint, &self.sample);
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}  web/production, engine {}", paint.strong("bascule demo"), short(engine));
        let _ = writeln!(text, "{}", paint.faint(&format!("gateways {}   health {ops}", places(gateways))));
        let _ = writeln!(text, "{}\n", paint.faint(&format!("control plane {admin}")));
        let slots = [
            ("34", "blue ", site::BLUE_RELEASE, "active   ", 100 - wanted),
            ("32", "green", site::GREEN_RELEASE, "candidate", wanted),
        ];
        for ((colour, slot, release, role, wanted), served) in slots.into_iter().zip(sample.served) {
            let share = share(served, sample);
            let _ = writeln!(
                text,
                "{}  {release}  {role}  {}  {share:5.1} %  wanted {wanted:3} %",
                paint.wrap(colour, slot),
                paint.wrap(colour, &bar(share)),
            );
        }
        let flag = share(sample.flag_on, sample);
        let _ = writeln!(text, "\nflag {}  on for {flag:.1} %, wanted {} %", site::FLAG, site::FLAG_SHARE);
        let errors = format!("{} errors", sample.errors);
        let errors = if sample.errors == 0 { errors } else { paint.error(&errors) };
        let _ = writeln!(
            text,
            "{visitors} visitors  {:.0} requests/s  p50 {:.2} ms  p99 {:.2} ms  {errors}\n",
            self.rate,
            millis(sample.p50_us),
            millis(sample.p99_us)
        );
        let [state, known] = &self.now;
        if !state.is_empty() {
            let _ = writeln!(text, "{}", paint.strong(state));
            let _ = writeln!(text, "{}\n", cut(known));
        }
        let _ = writeln!(text, "{}", paint.faint(HEADING));
        for change in &self.changes {
            let _ = writeln!(text, "{}", self.row(change));
            text.push_str(&acknowledgements(change));
        }
        if let Some(outcome) = &self.outcome {
            let _ = write!(text, "\n{}", told(outcome, *visitors));
        }
        let hint = format!("curl -i {gateway} -H '{}: you'   ctrl-c ends", super::visitors::UNIT_HEADER);
        let _ = writeln!(text, "\n{}", paint.faint(&hint));
        text
    }

    fn row(&self, change: &Change) -> String {
        let what = if change.rollback {
            format!("rollback to {:2} %", change.to)
        } else {
            format!("{:3} → {:3} % green", change.from, change.to)
        };
        let flapped = format!("{:8}", change.flapped);
        let flapped = if change.flapped == 0 { flapped } else { self.paint.error(&flapped) };
        format!(
            "{:6.1} s  {what:18}{:8}  {:13.1} ms  {:10.1} ms  {flapped}",
            change.at_ms / 1000.0,
            change.moved,
            change.last_at_old_ms,
            change.acknowledged_ms,
        )
    }
}

/// Over the rows: since the start, what, visitors who moved, from the command until the last request
/// at the old release and until all workers had it, visitors who went back and forth.
const HEADING: &str = "  time    change               moved   last at the old    all workers   flapped";

/// Columns of a terminal that everybody has.
const COLUMNS: usize = 80;

/// The end of a walk in words: what was decided and why, and what it cost.
fn told(outcome: &Outcome, visitors: usize) -> String {
    let Outcome { state, sentence, verified, detected_ms, rolled_back_ms, hurt } = outcome;
    let seconds = |ms: &f64| format!("{:.1} s", ms / 1000.0);
    let mut text = wrapped(sentence);
    let mut facts = vec![format!("{state}{}", if *verified { ", verified" } else { "" })];
    facts.extend(detected_ms.as_ref().map(|ms| format!("time to detect {}", seconds(ms))));
    facts.extend(rolled_back_ms.as_ref().map(|ms| format!("time to roll back {ms:.0} ms")));
    facts.push(format!("visitors hurt {hurt} of {visitors}"));
    for fact in facts {
        text.push_str(&wrapped(&fact));
    }
    text
}

/// A text in lines that everybody has room for.
fn wrapped(text: &str) -> String {
    let (mut lines, mut length) = (String::new(), 0);
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if length > 0 && length + 1 + width > COLUMNS {
            lines.push('\n');
            length = 0;
        }
        if length > 0 {
            lines.push(' ');
            length += 1;
        }
        lines.push_str(word);
        length += width;
    }
    lines.push('\n');
    lines
}

/// A line that is not longer than the terminal.
fn cut(line: &str) -> String {
    if line.chars().count() <= COLUMNS {
        return line.to_owned();
    }
    line.chars().take(COLUMNS - 1).chain(['…']).collect()
}

/// The ports of the gateways, which all are on the loopback address.
fn places(gateways: &[String]) -> String {
    let port = |url: &String| url.rsplit_once(':').map_or("", |(_, port)| port).to_owned();
    let ports: Vec<String> = gateways.iter().skip(1).map(port).collect();
    let first = gateways.first().map_or("", String::as_str);
    if ports.is_empty() { first.to_owned() } else { format!("{first} and :{}", ports.join(", :")) }
}

/// The table that a rollback is answered with: a line for each gateway.
fn acknowledgements(change: &Change) -> String {
    change.edges.iter().fold(String::new(), |mut text, edge| {
        let region = edge.region.as_deref().unwrap_or_default();
        let engine = short(&edge.engine);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "          {:12} {region:4} engine {engine:12} acknowledged after {:6.1} ms",
            edge.id, edge.ack_ms
        );
        text
    })
}

fn bar(share: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share is from 0 to 100, a bar has a few cells"
    )]
    let full = (share / 100.0 * BAR as f64).round() as usize;
    format!("{}{}", "█".repeat(full.min(BAR)), "░".repeat(BAR - full.min(BAR)))
}

/// Percentage of the visitors who were served at all.
fn share(part: u32, sample: &Sample) -> f64 {
    let [blue, green] = sample.served;
    if blue + green == 0 { 0.0 } else { f64::from(part) * 100.0 / f64::from(blue + green) }
}

fn millis(micros: u32) -> f64 {
    f64::from(micros) / 1000.0
}

/// Two decimals are more than a demo knows.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The beginning of an engine hash is enough to recognise it.
fn short(engine: &str) -> &str {
    engine.get(..12).unwrap_or(engine)
}

fn write(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        let board = Arc::new(Board::new(1000));
        let setting = Setting {
            gateways: vec!["http://127.0.0.1:65535".into(), "http://127.0.0.1:65533".into()],
            admin: "http://127.0.0.1:65532".into(),
            ops: "http://127.0.0.1:65534".into(),
            engine: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".into(),
            visitors: 1000,
        };
        View::new(Style::Terminal, setting, board).unwrap()
    }

    fn change(from: u32, to: u32, rollback: bool) -> Change {
        Change {
            at_ms: 12_345.6,
            from,
            to,
            rollback,
            moved: 1000,
            last_at_old_ms: 12.34,
            acknowledged_ms: 5.6,
            flapped: 0,
            edges: Vec::new(),
        }
    }

    #[test]
    fn the_picture_fits_eighty_columns() {
        let mut view = view();
        view.sample = Sample {
            requests: 99_999_999,
            errors: 1234,
            flaps: 0,
            p50_us: 123_450,
            p99_us: 999_990,
            served: [0, 1000],
            flag_on: 1000,
        };
        view.rate = 99_999.0;
        view.now = ["rollout: step 2 of 4".into(), "5xx: 31 of 1 200 requests at web-1.1.0, ".repeat(4)];
        view.outcome = Some(Outcome {
            state: "rolledBack".into(),
            sentence: "All traffic goes back to stable from step: the verdict is against the candidate. ".repeat(3),
            verified: true,
            detected_ms: Some(2345.6),
            rolled_back_ms: Some(12.3),
            hurt: 31,
        });
        view.changes = vec![change(0, 5, false), change(50, 100, false), change(100, 0, true)];
        let picture = view.picture(100);
        for line in picture.lines() {
            assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
        }
        assert!(picture.contains("100.0 %  wanted 100 %"), "{picture}");
        assert!(picture.contains("time to detect 2.3 s\ntime to roll back 12 ms\n"), "{picture}");
    }

    #[test]
    fn columns_stand_under_their_heading() {
        let view = view();
        let rows = [view.row(&change(0, 5, false)), view.row(&change(100, 0, true))];
        assert_eq!(
            [HEADING, &rows[0], &rows[1]],
            [
                "  time    change               moved   last at the old    all workers   flapped",
                "  12.3 s    0 →   5 % green     1000           12.3 ms         5.6 ms         0",
                "  12.3 s  rollback to  0 %      1000           12.3 ms         5.6 ms         0",
            ]
        );
    }

    #[test]
    fn a_bar_is_as_full_as_its_share() {
        assert_eq!(bar(0.0), "░".repeat(24));
        assert_eq!(bar(100.0), "█".repeat(24));
        assert_eq!(bar(50.0).chars().filter(|c| *c == '█').count(), 12);
    }
}
