//! An environment is taken away by name or by a list that names others, and never by saying nothing.

use admin_api::edge::Scope;
use tests::ControlPlane;

use super::{document, follow};
use crate::live::{Client, Origin};
use crate::rig::eventually;

fn scope(environment: &str) -> Scope {
    Scope { app: "web".into(), environment: environment.into() }
}

fn status(client: &mut Client, host: &str) -> u16 {
    client.send(&format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).expect("an answer").0
}

#[test]
fn a_withdrawn_environment_is_no_longer_served_and_the_others_are() {
    let (plane, origin, folder) = (ControlPlane::start(), Origin::start("blue"), tempfile::tempdir().unwrap());
    for environment in ["production", "staging"] {
        plane.publish(&document(environment, 1, &origin));
    }
    let gateway = follow(&plane, &[super::state_dir(folder.path())]);
    plane.until_ack("staging", 1);
    plane.until_ack("production", 1);
    let mut client = Client::new(gateway.address());
    assert_eq!(status(&mut client, "staging.example"), 200);
    plane.withdraw(&scope("staging"));
    eventually("staging is gone", || status(&mut Client::new(gateway.address()), "staging.example"), |is| *is == 404);
    assert_eq!(status(&mut client, "shop.example"), 200);
    let on_disk =
        || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    eventually("it is gone from the disk", on_disk, |files| {
        !files.iter().any(|file| file.to_string_lossy().starts_with("web@staging"))
    });
    plane.publish(&document("staging", 2, &origin));
    plane.until_ack("staging", 2);
    assert_eq!(status(&mut client, "staging.example"), 200, "it may come back");
}

#[test]
fn what_the_list_of_all_does_not_name_is_withdrawn() {
    let (plane, origin) = (ControlPlane::start(), Origin::start("blue"));
    for environment in ["production", "staging"] {
        plane.publish(&document(environment, 1, &origin));
    }
    let gateway = follow(&plane, &[]);
    plane.until_ack("staging", 1);
    plane.until_ack("production", 1);
    plane.forget(&scope("staging"));
    plane.hang_up();
    eventually("staging is gone", || status(&mut Client::new(gateway.address()), "staging.example"), |is| *is == 404);
    assert_eq!(status(&mut Client::new(gateway.address()), "shop.example"), 200);
}

#[test]
fn a_control_plane_that_names_nothing_at_all_takes_nothing_away() {
    let story = super::Story::begin();
    story.plane.forget(&scope("production"));
    story.plane.hang_up();
    story.plane.until_posted("the second stream is answered", |acks, _| {
        acks.iter().any(|acks| acks.connection == "connection-2" && acks.acks.len() == 1).then_some(())
    });
    assert_eq!(story.number(), Some(1));
    story.plane.withdraw(&scope("production"));
    eventually("by name it goes", || story.number(), Option::is_none);
}
