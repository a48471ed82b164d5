//! A client's socket, TCP or unix.
//!
//! Owns: the stream and what is known of its readiness.
//! Never knows: what is read and written.
//! Invariant: `readable` is false only after a read that did not fill its buffer, or would have
//! blocked; the event loop is edge-triggered and will say when that changes.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use socket2::{SockRef, TcpKeepalive};

use crate::serve::client::Peer;

/// Either kind of stream.
pub(super) enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// Unix.
    Unix(UnixStream),
}

/// A stream and its readiness.
pub(super) struct Socket {
    stream: Stream,
    /// There may be something to read.
    pub(super) readable: bool,
    /// There may be room to write.
    pub(super) writable: bool,
    /// The other side has closed its half: read on until the end.
    pub(super) ended: bool,
}

impl Socket {
    /// A socket that has just been accepted.
    pub(super) fn new(stream: Stream) -> Socket {
        Socket { stream, readable: false, writable: true, ended: false }
    }

    /// Where it comes from.
    pub(super) fn peer(&self, unix_path: &str) -> Peer {
        match &self.stream {
            Stream::Tcp(stream) => {
                let peer = stream.peer_addr().ok();
                let show = |addr: Option<SocketAddr>| {
                    addr.map_or("?:0".to_owned(), |addr| addr.to_string())
                };
                Peer {
                    addr: show(peer),
                    laddr: show(stream.local_addr().ok()),
                    local: peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()),
                    unix: false,
                    fd: stream.as_raw_fd(),
                }
            }
            Stream::Unix(stream) => Peer {
                addr: format!("{unix_path}:0"),
                laddr: format!("{unix_path}:0"),
                local: true,
                unix: true,
                fd: stream.as_raw_fd(),
            },
        }
    }

    /// Sets what every TCP client wants: no delay, and probes every `keepalive` seconds.
    pub(super) fn tune(&self, keepalive: u32) {
        let Stream::Tcp(stream) = &self.stream else { return };
        let _ = stream.set_nodelay(true);
        if keepalive > 0 {
            let seconds = Duration::from_secs(u64::from(keepalive));
            // As Redis: three probes, each a third of the interval apart.
            let probes = TcpKeepalive::new()
                .with_time(seconds)
                .with_interval((seconds / 3).max(Duration::from_secs(1)))
                .with_retries(3);
            let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
        }
    }

    /// Registers for both directions, once and for all.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match &mut self.stream {
            Stream::Tcp(stream) => registry.register(stream, token, both),
            Stream::Unix(stream) => registry.register(stream, token, both),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
