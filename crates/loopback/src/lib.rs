//! Ports on loopback for servers that tests and benches start, stop and start again at the same place.
//!
//! The system gives outgoing connections ports of its ephemeral range, at any moment, so a port from there that was free may be taken
//! when the server comes to it. These are from below that range: only another server can take one.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// Below 32768, where Linux begins to take ports for outgoing connections, and above what servers have by convention.
const FIRST: u32 = 16_000;
const COUNT: u32 = 16_000;

/// A port on which nobody listens. A process is given none of them twice before it has been given all.
///
/// # Errors
/// When every port is in use, or loopback is not there.
pub fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // processes that run side by side begin far apart
    let begin = std::process::id().wrapping_mul(617);
    let mut last = io::Error::other("no port on loopback is free");
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + begin.wrapping_add(step) % COUNT).unwrap_or(u16::MAX);
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_all_different() {
        let ports: Vec<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        let listeners: Vec<_> =
            ports.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).unwrap()).collect();
        assert_eq!(listeners.len(), 50);
        assert!(ports.iter().all(|port| (16_000..32_000).contains(port)), "{ports:?}");
    }
}
