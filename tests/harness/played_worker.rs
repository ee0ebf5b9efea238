//! A server that plays a Cloudflare Worker towards a control plane: it takes snapshots as the Worker's endpoint does, or
//! does what a test wants instead.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use admin::edges::workers::Worker;
use admin_api::edge::Scope;
use serde_json::{Value, json};

use crate::origin::{Exchange, Origin, Seen};

/// What every push is answered with.
#[derive(Debug, Clone, Copy)]
pub enum Mood {
    /// An acknowledgement.
    Takes,
    /// A problem with this status and code.
    Refuses(u16, &'static str),
    /// The address of somebody else.
    Redirects(SocketAddr),
    /// The end of the connection.
    Breaks,
    /// Nothing, until the mood is another one.
    Waits,
}

#[derive(Debug)]
struct State {
    token: String,
    mood: Mood,
}

/// A running Worker that is none.
pub struct PlayedWorker {
    origin: Origin,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl PlayedWorker {
    /// It takes pushes with this token.
    pub fn start(token: &str) -> Self {
        let state = State { token: token.to_owned(), mood: Mood::Takes };
        let state = Arc::new((Mutex::new(state), Condvar::new()));
        let own = Arc::clone(&state);
        let origin = Origin::scripted(move |exchange| {
            let (lock, changed) = &*own;
            let state = lock.lock().unwrap_or_else(PoisonError::into_inner);
            let waits = |state: &mut State| matches!(state.mood, Mood::Waits);
            let state = changed.wait_while(state, waits).unwrap_or_else(PoisonError::into_inner);
            let (token, mood) = (state.token.clone(), state.mood);
            drop(state);
            answer(exchange, &token, mood)
        });
        Self { origin, state }
    }

    /// Pushes are answered like that from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
        self.state.1.notify_all();
    }

    /// It takes this token from now on, and no other.
    pub fn turn_token(&self, token: &str) {
        token.clone_into(&mut self.lock().token);
    }

    /// As a control plane is told of it, with its token in a file of this folder.
    pub fn configured(&self, id: &str, folder: &Path) -> Worker {
        let token_file = folder.join(format!("{id}.token"));
        std::fs::write(&token_file, format!("{}\n", self.lock().token)).expect("writable");
        let scope = Scope { app: "web".to_owned(), environment: "production".to_owned() };
        Worker { id: id.to_owned(), scope, url: self.origin.url(), token_file, region: Some("eu".to_owned()) }
    }

    /// Every push so far, whatever came of it.
    pub fn pushes(&self) -> Vec<Seen> {
        self.origin.seen()
    }

    /// The numbers of the pushed snapshots.
    pub fn numbers(&self) -> Vec<u64> {
        self.pushes().iter().filter_map(number).collect()
    }

    /// How many connections were opened to it.
    pub fn connections(&self) -> usize {
        self.origin.connections()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PlayedWorker {
    fn drop(&mut self) {
        // Nobody waits for what never comes.
        self.set_mood(Mood::Breaks);
    }
}

/// The number in the head of a pushed snapshot.
fn number(push: &Seen) -> Option<u64> {
    let head = push.body.split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice::<Value>(head).ok()?["number"].as_u64()
}

fn answer(exchange: &mut Exchange<'_>, token: &str, mood: Mood) -> std::io::Result<()> {
    if exchange.seen.field("authorization") != Some(&format!("Bearer {token}")) {
        return problem(exchange, 401, "unauthorized");
    }
    match mood {
        Mood::Takes => {
            let ack = json!({"number": number(&exchange.seen), "engine": "native", "boundMs": 1000});
            exchange.respond("200 OK", "content-type: application/json\r\n", ack.to_string())
        }
        Mood::Refuses(status, code) => problem(exchange, status, code),
        Mood::Redirects(to) => exchange.respond("307 -", &format!("location: http://{to}/\r\n"), ""),
        Mood::Breaks | Mood::Waits => Err(std::io::ErrorKind::ConnectionAborted.into()),
    }
}

fn problem(exchange: &mut Exchange<'_>, status: u16, code: &str) -> std::io::Result<()> {
    let problem = json!({"status": status, "code": code, "detail": "as the test wants it"});
    exchange.respond(&format!("{status} -"), "content-type: application/problem+json\r\n", problem.to_string())
}
