//! An edge by hand: it acknowledges what, and when, a test says.

use serde_json::json;

use crate::admin::{ControlPlane, Stream};

/// A connected edge.
#[derive(Debug)]
pub struct Edge {
    /// What the control plane sends it.
    pub stream: Stream,
    /// Its token.
    pub token: String,
    connection: String,
    id: String,
}

impl Edge {
    /// Connects in the region `eu`, with a token of its own.
    #[track_caller]
    pub fn connect(plane: &ControlPlane, id: &str, last: Option<&str>) -> Self {
        Self::connect_as(plane, id, last, plane.token("*", "*", "edge"))
    }

    /// Connects with this token: an edge that comes back has the one that it had.
    #[track_caller]
    pub fn connect_as(plane: &ControlPlane, id: &str, last: Option<&str>, token: String) -> Self {
        let path =
            format!("/edge/v1/snapshots?edge={id}&boot=b-{id}&kind=gateway&version=0.1.0&engine=native&region=eu");
        let request = plane.request("GET", &path).token(&token);
        let request = last.into_iter().fold(request, |request, id| request.header("last-event-id", id));
        let mut stream = request.stream();
        let welcome = stream.until("welcome").json(0);
        let connection = welcome["connection"].as_str().expect("a name").to_owned();
        Self { stream, token, connection, id: id.to_owned() }
    }

    /// Says that it runs a snapshot; the status of the answer.
    #[track_caller]
    pub fn acknowledge(&self, plane: &ControlPlane, environment: &str, number: u64) -> u16 {
        let ack =
            json!({"app": "web", "environment": environment, "number": number, "engine": "native", "appliedUs": 10});
        let body = json!({"edge": self.id, "connection": self.connection, "acks": [ack]});
        plane.request("POST", "/edge/v1/acks").token(&self.token).json(Some(body)).send().status
    }
}
