//! Ports on the loopback address: the usual one, or any that is free.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

/// A non-blocking listener on the preferred port, or on a free one when that is taken.
pub(super) fn listen(preferred: u16) -> io::Result<TcpListener> {
    let at = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let listener = at(preferred).or_else(|_| at(0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_replaced_by_a_free_one() {
        let first = listen(0).unwrap();
        let taken = first.local_addr().unwrap().port();
        let second = listen(taken).unwrap();
        assert_ne!(second.local_addr().unwrap().port(), taken);
        assert!(second.local_addr().unwrap().ip().is_loopback());
    }
}
