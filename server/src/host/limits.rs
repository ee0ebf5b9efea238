//! Budgets of a module instance: memory, and time by epochs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Linear memory of one instance. The largest snapshot that passes the engine's caps stays below.
pub(super) const MEMORY_BYTES: usize = 512 << 20;
/// Stack of the guest on the host's side; the guest's own shadow stack is 1 MiB.
pub(super) const STACK_BYTES: usize = 1 << 20;

/// One epoch. Finer ticks wake an idle machine more often and are no more exact.
const TICK: Duration = Duration::from_millis(5);
/// Epochs for one decision, 50 ms. A decision takes about a microsecond; the rest is room for a thread
/// that the kernel has put aside, so that a busy machine does not pass for a broken module.
pub(super) const DECIDE_EPOCHS: u64 = 10;
/// Epochs for evaluating all flags for a context that a client sent, 500 ms: the engine's cap on the work of all flags
/// together is worth 100 ms.
pub(super) const EVALUATE_EPOCHS: u64 = 100;
/// Epochs for loading a snapshot, 10 s.
pub(super) const CONFIGURE_EPOCHS: u64 = 2000;

/// Advances the epoch of an engine until dropped.
#[derive(Debug)]
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: wasmtime::Engine) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("epoch".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                engine.increment_epoch();
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread only sleeps and counts; it cannot have panicked.
            let _ = thread.join();
        }
    }
}

/// The process's wasmtime engine with its ticker, made on first use.
///
/// One per process: compiled code is bound to it, and every further one would tick on its own.
pub(super) fn engine() -> Result<&'static wasmtime::Engine, wasmtime::Error> {
    static ENGINE: OnceLock<Result<(wasmtime::Engine, Ticker), String>> = OnceLock::new();
    let made = ENGINE.get_or_init(|| {
        let engine = wasmtime::Engine::new(&config()).map_err(|error| error.to_string())?;
        let ticker = Ticker::start(engine.clone()).map_err(|error| error.to_string())?;
        Ok((engine, ticker))
    });
    match made {
        Ok((engine, _)) => Ok(engine),
        Err(error) => Err(wasmtime::Error::msg(error.clone())),
    }
}

/// What compiled code depends on; precompiled code must be made under the same.
fn config() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config
        .strategy(wasmtime::Strategy::Cranelift)
        .cranelift_opt_level(wasmtime::OptLevel::Speed)
        .max_wasm_stack(STACK_BYTES)
        .epoch_interruption(true);
    config
}
