//! A module that fails at evaluations costs evaluations and nothing else.

use server::host::{Engine, Module};
use tests::Origin;

use super::*;

/// Decides green, release 1, and answers evaluations by nothing, by a trap, or by what is no outcome of the snapshot.
fn module(evaluate: &str) -> Vec<u8> {
    let text = format!(
        r#"(module (memory (export "memory") 4)
        (data (i32.const 16) "\01\01\03\00\01\00\00\00\00\00\00\00\00\00\00\00\00")
        (data (i32.const 64) "\01\00\63\00\00\00\00\00\00\00\00\00")
        (func (export "abi_version") (result i32) (i32.const 65537))
        (func (export "input") (param i32) (result i32) (i32.const 1024))
        (func (export "configure") (result i64) (i64.const 0))
        (func (export "evaluate") (result i64) {evaluate})
        (func (export "explain") (result i64) (i64.const 0))
        (func (export "decide") (result i64) (i64.const 0x1000000011)))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn a_module_that_fails_is_answered_by_500_or_503_and_the_app_is_served() {
    let green = Origin::named("green");
    for evaluate in
        ["unreachable", "(i64.const 0)", "(i64.const -1)", "(i64.const 0x400000000c)", "(i64.const 0x4000000002)"]
    {
        let engine = Engine::wasm(Module::compile(&module(evaluate)).unwrap());
        let world = World::of(&green.url(), &green.url()).snapshot(|snapshot| snapshot["flags"] = flags());
        let world = with_tokens(world.weight(1_000_000).engine(engine));
        let mut client = world.client();
        for turn in 0..5 {
            let response = request(&mut client, &format!("POST {BULK}/static"), &bearer(SERVER), b"");
            let (status, code) = failure(&response);
            assert!(matches!((turn, status), (_, 500) | (1.., 503)), "{evaluate}: {status}");
            assert_eq!((code.as_str(), &json_of(&response)["key"]), ("GENERAL", &json!("static")));
            assert_eq!(status == 503, response.field("retry-after").is_some());
            assert_eq!(client.get(HOST, "/", "").status, 200, "the app is served");
        }
    }
}
