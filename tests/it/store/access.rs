//! Tokens, and answers that are given again.

use admin::store::{Remembered, StoreError, Token};

use super::Place;

fn token(id: &str) -> Token {
    Token {
        id: id.into(),
        sha256: tests::store::hex(id),
        name: format!("{id} of somebody"),
        scopes: r#"[{"app":"*","environment":"*","role":"viewer"}]"#.into(),
        created_at: 1,
        created_by: "system".into(),
        expires_at: Some(99),
        revoked_at: None,
        last_used_at: None,
    }
}

pub(super) async fn a_token_is_found_by_id_and_by_hash(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    let full = Token { expires_at: None, revoked_at: Some(5), last_used_at: Some(6), ..token("b") };
    for one in [&token("a"), &full] {
        tx.insert_token(one).await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut read = store.read().await.unwrap();
    assert_eq!(read.token("a").await.unwrap(), Some(token("a")));
    assert_eq!(read.token_by_sha256(&full.sha256).await.unwrap(), Some(full));
    assert_eq!(read.token("c").await.unwrap(), None);
    assert_eq!(read.token_by_sha256("c").await.unwrap(), None);
}

pub(super) async fn tokens_are_paged_by_id(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    for id in ["c", "a", "d", "b"] {
        tx.insert_token(&token(id)).await.unwrap();
    }
    let ids = |page: Vec<Token>| page.into_iter().map(|token| token.id).collect::<Vec<_>>();
    assert_eq!(ids(tx.tokens("", 3).await.unwrap()), ["a", "b", "c"]);
    assert_eq!(ids(tx.tokens("c", 3).await.unwrap()), ["d"]);
}

pub(super) async fn a_token_is_revoked_once_and_touched_forwards(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    tx.insert_token(&token("a")).await.unwrap();
    tx.revoke_token("a", 40).await.unwrap();
    tx.revoke_token("a", 50).await.unwrap();
    tx.revoke_token("nobody", 50).await.unwrap();
    tx.touch_tokens(&[("a".into(), 60), ("a".into(), 55), ("nobody".into(), 1)]).await.unwrap();
    let found = tx.token("a").await.unwrap().unwrap();
    assert_eq!((found.revoked_at, found.last_used_at), (Some(40), Some(60)));
}

pub(super) async fn ids_and_hashes_of_tokens_are_unique(place: &Place) {
    let store = place.open().await;
    let mut tx = store.write().await.unwrap();
    tx.insert_token(&token("a")).await.unwrap();
    tx.commit().await.unwrap();
    for twice in [Token { sha256: "other".into(), ..token("a") }, Token { id: "b".into(), ..token("a") }] {
        let mut tx = store.write().await.unwrap();
        let error = tx.insert_token(&twice).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict(_)), "{error}");
        // PostgreSQL quotes the row in the details of its error.
        assert!(!format!("{error:?}").contains(&twice.sha256), "{error:?}");
    }
}

pub(super) async fn answers_are_remembered_and_forgotten(place: &Place) {
    let store = place.open().await;
    let answer = |key: &str, created_at: i64| Remembered {
        token: "a".into(),
        key: key.into(),
        request: "ff".into(),
        status: 201,
        headers: "{}".into(),
        body: format!("{{\"at\":{created_at}}}"),
        created_at,
    };
    let mut tx = store.write().await.unwrap();
    for one in [answer("k1", 10), answer("k2", 20), answer("k1", 30)] {
        tx.remember(&one).await.unwrap();
    }
    assert_eq!(tx.remembered("a", "k1").await.unwrap(), Some(answer("k1", 30)));
    assert_eq!(tx.remembered("b", "k1").await.unwrap(), None);
    tx.forget_remembered(30).await.unwrap();
    assert_eq!(tx.remembered("a", "k2").await.unwrap(), None);
    assert_eq!(tx.remembered("a", "k1").await.unwrap(), Some(answer("k1", 30)));
}
