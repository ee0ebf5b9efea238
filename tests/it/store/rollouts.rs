//! Rollouts, what was decided about them, and what was reported.

use admin::store::{BatchRow, RolloutRow, TransitionRow};

use super::Place;

fn row(environment: &str) -> RolloutRow {
    RolloutRow {
        id: 0,
        app: "web".into(),
        environment: environment.into(),
        release: "web-2".into(),
        state: "step".into(),
        created_at: 5,
        ended_at: None,
        counted: 0,
        transitions: 0,
        plan: "{}".into(),
        document: "{\"state\":\"step\"}".into(),
    }
}

pub(super) async fn a_rollout_is_read_as_it_was_written(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    let id = tx.insert_rollout(&row("production")).await.unwrap();
    let mut known = RolloutRow { id, ..row("production") };
    assert_eq!((id, tx.rollout(1).await.unwrap()), (1, Some(known.clone())));
    known.state = "rolledBack".into();
    (known.counted, known.transitions, known.ended_at) = (7, 3, Some(9));
    known.document = "{}".into();
    tx.update_rollout(&known).await.unwrap();
    assert_eq!(tx.insert_rollout(&row("production")).await.unwrap(), 2);
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    let all = read.rollouts("web", "production", None, 10).await.unwrap();
    assert_eq!(all, [RolloutRow { id: 2, ..row("production") }, known.clone()]);
    assert_eq!(read.rollouts("web", "production", Some(2), 10).await.unwrap(), [known]);
    assert!(read.rollouts("web", "staging", None, 10).await.unwrap().is_empty());
    let ended = async |read: &mut admin::store::ReadTx, state: &str| {
        read.rollouts_that_ended("web", "production", "web-2", state).await.unwrap()
    };
    assert_eq!((ended(&mut read, "rolledBack").await.len(), ended(&mut read, "promoted").await.len()), (1, 0));
}

pub(super) async fn an_environment_has_one_under_way(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    for environment in ["production", "staging"] {
        tx.insert_rollout(&row(environment)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    let under_way: Vec<i64> = read.rollouts_under_way().await.unwrap().into_iter().map(|row| row.id).collect();
    assert_eq!(under_way, [1, 2]);
    assert_eq!(read.rollout_under_way("web", "staging").await.unwrap().map(|row| row.id), Some(2));
    assert_eq!(read.rollout_under_way("web", "other").await.unwrap(), None);
    drop(read);
    assert!(store.write().await.unwrap().insert_rollout(&row("production")).await.is_err());
}

pub(super) async fn transitions_only_grow(place: &Place) {
    let store = place.open().await;
    let one = |number, begins_step, grounds: Option<&str>| TransitionRow {
        rollout: 1,
        number,
        at: 5,
        before: "pending".into(),
        after: "step".into(),
        actor: "tok-1".into(),
        actor_name: "ada".into(),
        counted: 4,
        begins_step,
        sentence: "ada started web-2".into(),
        grounds: grounds.map(str::to_owned),
    };
    let mut tx = store.write().await.unwrap();
    for row in [one(1, true, None), one(2, false, Some("{}"))] {
        tx.add_transition(&row).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    assert_eq!(read.transitions(1, 0, 10).await.unwrap(), [one(1, true, None), one(2, false, Some("{}"))]);
    assert_eq!(read.transitions(1, 1, 10).await.unwrap(), [one(2, false, Some("{}"))]);
    drop(read);
    for sql in ["UPDATE rollout_transitions SET sentence = 'no'", "DELETE FROM rollout_transitions"] {
        let refused = place.execute(sql).await.unwrap_err().to_string();
        assert!(refused.contains("only grow"), "{refused}");
    }
}

pub(super) async fn batches_are_replaced_in_their_group(place: &Place) {
    let store = place.open().await;
    let batch = |sequence, stratum: &str, document: &str| BatchRow {
        rollout: 1,
        sequence,
        stratum: stratum.into(),
        document: document.into(),
    };
    let mut tx = store.write().await.unwrap();
    for row in [batch(1, "us", "1"), batch(1, "eu", "2"), batch(1, "us", "3"), batch(2, "eu", "4")] {
        tx.put_batch(&row).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    assert_eq!(read.batches(1, 1, 1).await.unwrap(), [batch(1, "eu", "2"), batch(1, "us", "3")]);
    assert_eq!(read.batches(1, 2, 9).await.unwrap(), [batch(2, "eu", "4")]);
    assert!(read.batches(2, 1, 9).await.unwrap().is_empty());
    drop(read);
    let mut tx = store.write().await.unwrap();
    let id = tx.insert_rollout(&row("production")).await.unwrap();
    tx.update_rollout(&RolloutRow { id, ended_at: Some(100), ..row("production") }).await.unwrap();
    tx.forget_batches(100).await.unwrap();
    assert_eq!(tx.batches(1, 1, 9).await.unwrap().len(), 3, "it had not ended before that");
    tx.forget_batches(101).await.unwrap();
    assert!(tx.batches(1, 1, 9).await.unwrap().is_empty());
}
