//! Ports on the loopback address: the usual one, or any that is free.
//!
//! Invariant: two demos that start at the same moment never share a port. A gateway's listener would share it without a word
//! (as a successor does at an upgrade), so a port that a gateway is to bind is claimed first, by the UDP port of the same number.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
};

/// Free ports change hands between two looks; one that stays free is found at the first or second attempt.
const ATTEMPTS: usize = 16;

/// A non-blocking listener on the preferred port, or on a free one when that is taken.
pub(super) fn listen(preferred: u16) -> io::Result<TcpListener> {
    let listener = bind(preferred).or_else(|_| bind(0))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// A TCP port that nobody listened on, and that no other demo takes for as long as this lives.
pub(super) struct Claim {
    address: SocketAddr,
    _claim: UdpSocket,
}

impl Claim {
    /// The preferred port, or a free one when that is taken.
    pub(super) fn take(preferred: u16) -> io::Result<Self> {
        let mut taken = Self::at(preferred);
        for _ in 0..ATTEMPTS {
            if taken.is_ok() {
                break;
            }
            taken = Self::at(0);
        }
        taken
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    fn at(port: u16) -> io::Result<Self> {
        let address = bind(port)?.local_addr()?;
        let claim = UdpSocket::bind(address)?;
        // Between the look and the claim another demo may have had claim and gateway there, so it is looked at again.
        bind(address.port())?;
        Ok(Self { address, _claim: claim })
    }
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

    #[test]
    fn a_claimed_port_is_claimed_once_and_can_be_bound() {
        let first = Claim::take(0).unwrap();
        let port = first.address().port();
        let second = Claim::take(port).unwrap();
        assert_ne!(second.address().port(), port);
        bind(port).unwrap();
    }
}
