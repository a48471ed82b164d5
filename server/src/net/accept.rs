//! New connections.
//!
//! Owns: admitting them, and their place among the sockets.
//! Never knows: the protocol.
//! Invariant: a connection that is refused is told why before it is closed.

use std::io::{ErrorKind, Write};

use mio::Token;

use super::socket::Socket;
use super::{EventLoop, FIRST_CLIENT};

impl EventLoop {
    /// Accepts everyone who waits at listener `number`.
    pub(super) fn accept(&mut self, number: usize) {
        loop {
            match self.listeners.accept(number) {
                Ok(Some(socket)) => self.welcome(socket),
                Ok(None) => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    // Out of files, most likely; the sweep tries again.
                    tracing::warn!(%error, "cannot accept a connection");
                    return;
                }
            }
        }
    }

    fn welcome(&mut self, mut socket: Socket) {
        let peer = socket.peer(&self.unix_path);
        if let Err(refusal) = self.server.admit(peer.local) {
            let _ = socket.write(refusal.0.as_bytes());
            return;
        }
        socket.tune(self.server.state.config.tcp_keepalive);
        let index = self.server.connect(peer);
        if let Err(error) = socket.register(self.poll.registry(), Token(FIRST_CLIENT + index)) {
            tracing::warn!(%error, "cannot watch a connection");
            self.server.disconnect(index);
            return;
        }
        if self.sockets.len() <= index {
            self.sockets.resize_with(index + 1, || None);
        }
        self.sockets[index] = Some(socket);
    }
}
