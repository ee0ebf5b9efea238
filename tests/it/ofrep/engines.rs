//! The native engine and the module give the same outcomes to the same context.

use edge_engine::{BucketingKey, FlagIndex, FlagSelection};
use proptest::prelude::*;
use server::host::{Decider, Engine, EvaluateError, LoadedSnapshot, Module};

use super::*;

fn decider(engine: &Engine) -> Decider {
    let snapshot = json!({
        "format": "v1", "app": "web", "environment": "production", "number": 1,
        "createdAt": "2026-01-01T00:00:00Z", "bucketingKeyId": "k1",
        "traffic": {"active": "blue", "slots": {"blue": "r1"}, "salt": "s"},
        "releases": {"r1": {"version": "1", "upstreams": [{"url": "http://127.0.0.1:9"}]}},
        "flags": flags(),
    });
    let key = BucketingKey::new([7; 16]);
    LoadedSnapshot::load(snapshot.to_string().as_bytes(), &key, engine).unwrap().decider().unwrap()
}

fn contexts() -> impl Strategy<Value = Vec<u8>> {
    let user = prop_oneof![any::<u32>().prop_map(Value::from), "\\PC{0,10}".prop_map(Value::from), Just(Value::Null)];
    let mail = prop_oneof![Just(json!("a@shop.example")), "[a-z@.]{0,20}".prop_map(Value::from), Just(json!([1, "x"]))];
    let whole =
        (user, mail).prop_map(|(user, mail)| json!({"targetingKey": user, "email": mail}).to_string().into_bytes());
    prop_oneof![9 => whole, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

#[test]
fn native_and_module_agree() {
    let mut native = decider(&Engine::native());
    let mut module = decider(&Engine::wasm(Module::embedded().unwrap()));
    let all: Vec<FlagIndex> = (0..10).map(FlagIndex).collect();
    let selections = [FlagSelection::All, FlagSelection::These(&all[3..5]), FlagSelection::These(&[])];
    let mut runner = proptest::test_runner::TestRunner::default();
    let claim = |context: Vec<u8>| {
        for selection in selections {
            let (mut by_native, mut by_module) = (Vec::new(), Vec::new());
            let native = native.outcomes(&context, selection, 7, &mut by_native).map_err(|error| error.to_string());
            let module = module.outcomes(&context, selection, 7, &mut by_module);
            prop_assert!(!matches!(module, Err(EvaluateError::Host(_) | EvaluateError::Replacing)));
            prop_assert_eq!(native, module.map_err(|error| error.to_string()));
            prop_assert_eq!(&by_native, &by_module);
        }
        Ok(())
    };
    let claim = std::cell::RefCell::new(claim);
    runner.run(&contexts(), |context| (claim.borrow_mut())(context)).unwrap();
}
