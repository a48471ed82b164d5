//! Sockets, signals and the disk's wake-ups: everything that makes the server move.
//!
//! Owns: listeners, sockets, the event loop, the order of its turn.
//! Never knows: the protocol, commands, records.
//! Invariant: one `read` and one `write` per readiness; a read that does not fill its buffer has
//! drained the socket, so none is made just to be told so. Nothing is polled while nothing moves.
//! See `docs/decisions/0002-sockets-by-mio.md`.

mod accept;
mod event_loop;
mod listener;
mod opening;
mod socket;
mod stop;
mod store;

pub use event_loop::EventLoop;
pub use listener::{BindError, Listeners};
pub use opening::{Opened, Opening};

use mio::Token;

/// Most listeners: addresses and the unix socket.
const LISTENERS_MAX: usize = 16;
/// A signal has come.
const SIGNAL: Token = Token(LISTENERS_MAX);
/// The disk has finished something.
const DISK: Token = Token(LISTENERS_MAX + 1);
/// The store has been opened, or cannot be.
const OPENED: Token = Token(LISTENERS_MAX + 2);
/// Token of the client in slot 0; the others follow.
const FIRST_CLIENT: usize = LISTENERS_MAX + 16;
