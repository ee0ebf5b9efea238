//! A module that passes its trial and then fails on certain requests, in a real gateway, over real sockets:
//! the request is answered, the next ones are decided by a fresh instance, and the process lives.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::live::{Client, Origin, manifest};
use crate::rig::eventually;
use crate::running::Process;

/// The deadline of a decision is 50 ms; the rest is a busy machine.
const IN_TIME: Duration = Duration::from_secs(2);
/// What a gateway may have more than before once a hog is gone.
const LEFT_OVER: u64 = 64 << 20;

/// A module that answers every request by green, release 1, SPLIT, and does something else when the request has
/// the word `trap`, `loop`, `deep`, `hogs` or `lies` in it, wherever that is.
const MODULE: &str = r#"(module
    (memory (export "memory") 4)
    (data (i32.const 16) "\01\01\03\00\01\00\00\00\00\00\00\00\00\00\00\00\00")
    (func (export "abi_version") (result i32) (i32.const 65537))
    (func (export "input") (param i32) (result i32) (i32.const 1024))
    (func (export "configure") (result i64) (i64.const 0))
    (func (export "evaluate") (result i64) (i64.const 0))
    (func (export "explain") (result i64) (i64.const 0))
    (func $deep (result i32) (i32.add (call $deep) (i32.const 1)))
    (func $hogs
        (loop $more (br_if $more (i32.ne (memory.grow (i32.const 256)) (i32.const -1))))
        (memory.fill (i32.const 65536) (i32.const 1) (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536)))
        unreachable)
    (func $has (param $word i32) (result i32) (local $at i32)
        (local.set $at (i32.const 1024))
        (loop $next
            (if (i32.eq (i32.load align=1 (local.get $at)) (local.get $word)) (then (return (i32.const 1))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $at) (i32.const 3072))))
        (i32.const 0))
    (func (export "decide") (result i64)
        (if (call $has (i32.const 0x70617274)) (then unreachable))
        (if (call $has (i32.const 0x706f6f6c)) (then (loop $l (br $l))))
        (if (call $has (i32.const 0x70656564)) (then (drop (call $deep))))
        (if (call $has (i32.const 0x73676f68)) (then (call $hogs)))
        (if (call $has (i32.const 0x7365696c)) (then (return (i64.const -1))))
        (i64.const 0x1000000011)))"#;

struct Hostile {
    process: Process,
    _folder: tempfile::TempDir,
    _origins: [Origin; 2],
}

impl Hostile {
    fn start() -> Self {
        let origins = [Origin::start("blue"), Origin::start("green")];
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| -> PathBuf {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let file = write("bascule.yaml", manifest(origins[0].address, origins[1].address, "100", "").as_bytes());
        let module = write("hostile.wasm", &wat::parse_str(MODULE).unwrap());
        let process = Process::start_as(&file, "127.0.0.1:0", &[], |command| {
            command.arg("--module").arg(&module);
        });
        Self { process, _folder: folder, _origins: origins }
    }

    /// Decisions that the fallback made, for whatever cause.
    fn fallbacks(&self, cause: &str) -> u64 {
        self.process.metric(&format!("bascule_fallbacks_total{{cause=\"{cause}\"}}"))
    }

    /// The request is answered by the active release and in time, and soon the module decides again.
    #[track_caller]
    fn survives(&self, word: &str) {
        let mut client = Client::new(self.process.listen);
        assert_eq!(client.get("harmless").unwrap(), (200, "green".to_owned()), "before {word}");
        let from = Instant::now();
        assert_eq!(client.get(word).unwrap(), (200, "blue".to_owned()), "{word}");
        assert!(from.elapsed() < IN_TIME, "{word}: {:?}", from.elapsed());
        let again = || Client::new(self.process.listen).get("harmless").unwrap();
        let again = eventually("a fresh instance decides", again, |(_, body)| body == "green");
        assert_eq!(again.0, 200);
        // The same connection goes on, and so does the module.
        assert_eq!(client.get("harmless").unwrap(), (200, "green".to_owned()), "after {word}");
    }
}

#[test]
fn requests_that_break_the_module_are_answered_by_the_active_release_and_the_next_by_a_fresh_instance() {
    let hostile = Hostile::start();
    assert_eq!((hostile.fallbacks("trap"), hostile.fallbacks("deadline")), (0, 0));
    for (word, cause) in [("trap", "trap"), ("loop", "deadline"), ("deep", "trap"), ("lies", "trap")] {
        let before = hostile.fallbacks(cause);
        hostile.survives(word);
        assert!(hostile.fallbacks(cause) > before, "{word} is counted as {cause}");
    }
    assert_eq!(hostile.fallbacks("deadline"), 1, "only the loop missed a deadline");
    let served = |release: &str, reason: &str| {
        let labels = format!("app=\"web\",environment=\"production\",release=\"{release}\",reason=\"{reason}\"");
        hostile.process.metric(&format!("bascule_route_decisions_total{{{labels}}}"))
    };
    assert!(served("web-1", "FALLBACK") >= 4 && served("web-2", "SPLIT") >= 12);
    assert_eq!(crate::rig::get(hostile.process.ops, "/livez").status, 200);
    let Hostile { process, .. } = hostile;
    assert!(process.log().contains("the edge module failed, the active slot serves until it is replaced"));
    process.signal("-TERM");
    assert_eq!(process.end().0, Some(0), "the process that began is the one that ends");
}

#[test]
fn a_request_that_makes_the_module_hog_memory_is_answered_and_the_memory_comes_back() {
    let hostile = Hostile::start();
    let resident = || hostile.process.resident_bytes();
    let before = resident();
    for _ in 0..3 {
        hostile.survives("hogs");
    }
    assert!(hostile.fallbacks("trap") + hostile.fallbacks("deadline") >= 3);
    eventually("the memory is given back", resident, |now| *now < before + LEFT_OVER);
}

#[test]
fn a_module_that_fails_every_request_costs_no_request() {
    let hostile = Hostile::start();
    let mut client = Client::new(hostile.process.listen);
    for _ in 0..300 {
        assert_eq!(client.get("trap").unwrap(), (200, "blue".to_owned()));
    }
    assert!(hostile.fallbacks("trap") >= 300, "also while there is no instance");
    let again = || Client::new(hostile.process.listen).get("harmless").unwrap().1;
    eventually("a fresh instance decides", again, |body| body == "green");
}
