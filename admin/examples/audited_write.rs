//! How long an audited write takes: `cargo run --release -p admin --example audited_write -- LOCATION [COUNT]`.
//!
//! Each is what a use-case does: an object, its audit entry and a snapshot of 30 KiB in one transaction.

use std::time::Instant;

use admin::store::{Kind, Location, NewAudit, Object, ObjectId, Publication, Store, StoreError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let location: Location = arguments.next().ok_or("which database?")?.parse()?;
    let count: usize = arguments.next().map_or(Ok(2000), |count| count.parse())?;
    let store = Store::open(&location).await?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begun = Instant::now();
        write(&store).await?;
        times.push(begun.elapsed());
    }
    store.close().await;
    times.sort_unstable();
    for percent in [50, 90, 99] {
        println!("p{percent} {:?}", times.get(count * percent / 100).copied().unwrap_or_default());
    }
    Ok(())
}

async fn write(store: &Store) -> Result<(), StoreError> {
    let mut tx = store.write().await?;
    let revision = tx.next_revision().await?;
    let document = "{\"some\":\"text\"}".repeat(2048);
    let id = ObjectId { app: "web".into(), kind: Kind::Flag, environment: String::new(), key: "new-checkout".into() };
    tx.put_object(&Object { id, revision, document: "{}".repeat(512), created_at: 1, updated_at: revision }).await?;
    let text = |text: &str| text.to_owned();
    let audit = NewAudit {
        at: revision,
        actor: text("system"),
        actor_name: text("system"),
        app: text("web"),
        environment: text("production"),
        operation: text("updateFlag"),
        subject: text("flags/new-checkout"),
        reason: String::new(),
        request_id: revision.to_string(),
        changes: "{}".repeat(256),
    };
    let audit = tx.append_audit(audit).await?.sequence;
    let publication = Publication {
        sequence: 0,
        app: text("web"),
        environment: text("production"),
        number: revision,
        created_at: revision,
        document: Some(document),
        sha256: "0".repeat(64),
        previous: "0".repeat(64),
        key_id: text("key"),
        signature: "0".repeat(128),
        audit,
    };
    tx.publish(publication).await?;
    tx.commit().await
}
