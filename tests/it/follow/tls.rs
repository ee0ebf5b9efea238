//! A control plane behind https: reached by whom it shows a certificate of the right authority.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tests::ControlPlane;

use super::{document, follow};
use crate::live::{Client, Origin};
use crate::rig::{eventually, get};

/// Ends TLS in front of a control plane, with a certificate that it puts into a file.
pub(crate) fn front(behind: SocketAddr, file: &Path) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(file, cert.pem()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((tcp, _)) = listener.accept().await {
                let accepting = acceptor.accept(tcp);
                tokio::spawn(async move {
                    let (Ok(mut tls), Ok(mut to)) = (accepting.await, tokio::net::TcpStream::connect(behind).await)
                    else {
                        return;
                    };
                    let _ = tokio::io::copy_bidirectional(&mut tls, &mut to).await;
                });
            }
        });
    });
    address
}

#[test]
fn a_control_plane_behind_https_is_followed_when_its_authority_is_trusted_and_gets_no_token_otherwise() {
    let (plane, origin, folder) = (ControlPlane::start(), Origin::start("blue"), tempfile::tempdir().unwrap());
    plane.publish(&document("production", 1, &origin));
    let ca = folder.path().join("ca.pem");
    let url = ("ADMIN", format!("https://{}", front(plane.address(), &ca)));
    let stranger = follow(&plane, std::slice::from_ref(&url));
    let reason = || get(stranger.ops_address(), "/api/health").body;
    eventually("the certificate is not trusted", reason, |health| health.contains("TLS: invalid peer certificate"));
    assert!(plane.visits().is_empty(), "nobody was shown a token");
    let gateway = follow(&plane, &[url, ("ADMIN_CA", ca.display().to_string())]);
    plane.until_ack("production", 1);
    assert_eq!(Client::new(gateway.address()).get("u").unwrap(), (200, "blue".to_owned()));
}
