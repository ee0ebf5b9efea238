//! What nginx and HAProxy are told: the same task as the gateway's, one thread, no access log.
//!
//! Invariant: whoever proxies adds `x-request-id`, `x-forwarded-for`, `-proto` and `-host` and `traceparent` towards the
//! origin, and `x-request-id` towards the client. The flags and the identity of the release, which the gateway adds
//! too, have no counterpart here, nor has the dropping of names that only a proxy may set.

use std::net::SocketAddr;
use std::path::Path;

/// A path at which an origin answers with the fields that a proxy added.
pub(crate) const ECHO: &str = "/added";

/// One process in the foreground with nothing outside its folder.
pub(super) fn nginx(prefix: &Path, servers: &str) -> String {
    let prefix = prefix.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {prefix}/{kind};\n"))
        .concat();
    format!(
        "daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid {prefix}/pid;
error_log {prefix}/error.log error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  default_type text/plain;
{temporary}{servers}}}
"
    )
}

/// An origin that answers one body, and at [`ECHO`] what it was told about the request.
pub(super) fn origin(address: SocketAddr, body: &str) -> String {
    format!(
        "  server {{
    listen {address};
    location / {{ return 200 '{body}'; }}
    location = {ECHO} {{
      return 200 '$http_x_request_id $http_x_forwarded_for $http_x_forwarded_proto $http_x_forwarded_host $http_traceparent';
    }}
  }}
"
    )
}

/// nginx with a tenth of the `uid` cookies to the second origin. The span of its `traceparent` is constant: nginx
/// has no second random number, and a pattern to cut one out would cost it what nobody else pays.
pub(super) fn split_clients(address: SocketAddr, blue: &str, green: &str) -> String {
    format!(
        "  split_clients $cookie_uid $arm {{ 10% green; * blue; }}
  upstream blue {{ server {blue}; keepalive 256; keepalive_requests 1000000000; }}
  upstream green {{ server {green}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://$arm;
      proxy_http_version 1.1;
      proxy_set_header Connection '';
      proxy_set_header Host $http_host;
      proxy_set_header X-Request-Id $request_id;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header Traceparent 00-$request_id-00f067aa0ba902b7-01;
      add_header X-Request-Id $request_id;
    }}
  }}
"
    )
}

/// HAProxy with the same task.
pub(super) fn haproxy(address: SocketAddr, blue: &str, green: &str) -> String {
    format!(
        "global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  http-reuse always
  option forwardfor
frontend clients
  bind {address}
  http-request set-var(txn.id) rand,hex
  http-request set-header X-Request-Id %[var(txn.id)]%[rand,hex]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header Traceparent 00-%[rand,hex]%[rand,hex]-%[rand,hex]-01
  http-response set-header X-Request-Id %[var(txn.id)]
  acl canary req.cook(uid),crc32(1),mod(100) -m int lt 10
  use_backend green if canary
  default_backend blue
backend blue
  server one {blue}
backend green
  server one {green}
"
    )
}
