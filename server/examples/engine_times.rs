//! Times the engine natively and through the module: `engine_times FOLDER` with the documents that
//! `cargo xtask bench` writes. One round; prints `NAME VALUE` lines, `*_ns`, `*_ms` and `*_allocations`.

#[path = "../../xtask/peers/timing.rs"]
mod timing;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, anyhow, ensure};
use edge_engine::{BucketingKey, Evaluation, FlagIndex, JsonContext, Snapshot, Value, VariantIndex};
use server::host::{Decided, Engine, LoadedSnapshot, Module};

/// Any key will do; it must only stay the same.
const KEY: [u8; 16] = *b"bascule-bench-16";
/// 2026-01-01T00:00:00Z.
const NOW_MS: i64 = 1_767_225_600_000;
/// Decisions over which allocations are counted.
const COUNTED: u32 = 10_000;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with this thread's calls counted: the epoch ticker of the host does not disturb.
struct Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands everything on")]
// SAFETY: every call goes to the system's allocator as it came in.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the pointer came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // At the end of a thread the counter may be gone already.
    let _ = ALLOCATIONS.try_with(|counter| counter.set(counter.get() + 1));
}

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("usage: engine_times FOLDER")?;
    let folder = Path::new(&folder);
    let wasm = Engine::wasm(Module::embedded()?);
    for (scenario, values) in [("flag", 2), ("no_flag", 2), ("route", 6), ("route_10000", 6)] {
        let document = std::fs::read(folder.join(format!("{scenario}.json")))?;
        let context = std::fs::read(folder.join(format!("{scenario}.context.json")))?;
        if scenario == "flag" {
            one_flag(&document, &context)?;
        }
        decisions(&format!("{scenario}_native"), &document, &context, values, &Engine::native())?;
        decisions(&format!("{scenario}_wasm"), &document, &context, values, &wasm)?;
    }
    loads(&std::fs::read(folder.join("route_10000.json"))?, &wasm)
}

/// One flag by its key, the context ready: what the flag libraries measure.
fn one_flag(document: &[u8], context: &[u8]) -> anyhow::Result<()> {
    let loaded = LoadedSnapshot::load(document, &BucketingKey::new(KEY), &Engine::native())?;
    let snapshot = &**loaded.snapshot();
    let context = JsonContext::parse(context).map_err(|error| anyhow!(error))?;
    let lists = context.lists(snapshot);
    let values = context.values(snapshot, &lists);
    let request = context.request(&values, NOW_MS);
    let first = snapshot.forwarded().first().context("a flag is forwarded")?;
    tenth(snapshot, *first)?;
    let key = snapshot.flag(*first).context("the flag is there")?.key().as_str().to_owned();
    let decide = || {
        let index = snapshot.flag_index(black_box(&key)).unwrap_or(*first);
        black_box(Evaluation::new(black_box(snapshot), black_box(&request)).flag(index));
    };
    println!("flag_by_key_native_allocations {}", allocations(decide));
    println!("flag_by_key_native_ns {:.2}", timing::ns_per_call(decide));
    Ok(())
}

/// Preflight: as many users have the flag as on the other side of the comparison; a decision that always says no would
/// be fast too.
fn tenth(snapshot: &Snapshot, flag: FlagIndex) -> anyhow::Result<()> {
    let mut users = 0;
    for user in 0..1000 {
        let context = format!(r#"{{"header": {{"x-user-id": "user-{user}"}}, "country": "DE"}}"#);
        let context = JsonContext::parse(context.as_bytes()).map_err(|error| anyhow!(error))?;
        let lists = context.lists(snapshot);
        let values = context.values(snapshot, &lists);
        let outcome = Evaluation::new(snapshot, &context.request(&values, NOW_MS)).flag(flag);
        users += u32::from(outcome.variant == VariantIndex(0));
    }
    ensure!((60..=140).contains(&users), "{users} of 1000 users have the flag instead of about 100");
    Ok(())
}

/// The whole call that the gateway makes per request, on a context of so many values.
fn decisions(name: &str, document: &[u8], context: &[u8], present: usize, engine: &Engine) -> anyhow::Result<()> {
    let loaded = LoadedSnapshot::load(document, &BucketingKey::new(KEY), engine)?;
    let mut decider = loaded.decider()?;
    let context = JsonContext::parse(context).map_err(|error| anyhow!(error))?;
    let lists = context.lists(loaded.snapshot());
    let values = context.values(loaded.snapshot(), &lists);
    let found = values.iter().filter(|value| !matches!(value, Value::Missing)).count();
    ensure!(found == present, "{name}: the context holds {found} values that are asked for instead of {present}");
    let request = context.request(&values, NOW_MS);
    let mut decision = decider.new_decision();
    ensure!(decider.decide(&request, &mut decision) == Decided::Engine, "{name}: the engine did not decide");
    let mut decide = || {
        black_box(decider.decide(black_box(&request), &mut decision));
    };
    println!("{name}_allocations {}", allocations(&mut decide));
    println!("{name}_ns {:.2}", timing::ns_per_call(decide));
    Ok(())
}

/// Allocations per call, after one call to warm up.
fn allocations(mut call: impl FnMut()) -> f64 {
    call();
    let before = ALLOCATIONS.get();
    (0..COUNTED).for_each(|_| call());
    f64::from(u32::try_from(ALLOCATIONS.get() - before).unwrap_or(u32::MAX)) / f64::from(COUNTED)
}

fn loads(document: &[u8], wasm: &Engine) -> anyhow::Result<()> {
    let key = BucketingKey::new(KEY);
    let loaded = LoadedSnapshot::load(document, &key, wasm)?;
    // The first decider takes the instance of the trial load.
    let _first = loaded.decider()?;
    let native = ms_once(|| drop(black_box(LoadedSnapshot::load(document, &key, &Engine::native()))));
    println!("load_10000_native_ms {native:.3}");
    let module = ms_once(|| drop(black_box(loaded.decider())));
    println!("load_10000_module_ms {module:.3}");
    let both = ms_once(|| drop(black_box(LoadedSnapshot::load(document, &key, wasm))));
    println!("load_10000_both_ms {both:.3}");
    Ok(())
}

fn ms_once(call: impl FnOnce()) -> f64 {
    let start = Instant::now();
    call();
    start.elapsed().as_secs_f64() * 1e3
}
