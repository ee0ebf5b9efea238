//! Requests and responses through the gateway as they should be.

use tests::world::HOST;
use tests::{Origin, World};

#[test]
fn a_request_reaches_the_active_release_and_its_answer_comes_back() {
    let (blue, green) = (Origin::named("blue"), Origin::named("green"));
    let world = World::of(&blue.url(), &green.url()).start();
    let mut client = world.client();
    for turn in 0..3 {
        let response = client.get(HOST, "/a?b=c", "accept: */*\r\n");
        assert_eq!((response.status, response.text().as_str()), (200, "blue"), "{turn}");
        assert_eq!(response.field("x-bascule-release"), Some("web-1"));
        let seen = blue.last();
        assert_eq!(seen.line, "GET /a?b=c HTTP/1.1");
        assert_eq!(seen.field("host"), Some(HOST));
        assert_eq!(seen.field("x-bascule-app"), Some("web"));
        assert_eq!(seen.field("x-bascule-environment"), Some("production"));
        assert_eq!(seen.field("x-bascule-release"), Some("web-1"));
        assert_eq!(seen.field("x-bascule-slot"), Some("blue"));
        assert_eq!(seen.field("x-request-id"), response.field("x-request-id"));
        assert_eq!(seen.field("x-forwarded-for"), Some("127.0.0.1"));
    }
    assert_eq!(blue.connections(), 1, "the connection is kept");
    assert!(green.seen().is_empty());
}
