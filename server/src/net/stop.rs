//! Stopping in good order: signals and SHUTDOWN.
//!
//! Owns: the stages of stopping.
//! Never knows: the protocol, what the store does to close.
//! Invariant: no connection is accepted and no command begun once stopping has begun; replies that
//! are owed leave first, then the store is closed, then the process ends.

use std::io::Read;

use emberlog_engine::{Shard, UnixMillis};

use super::EventLoop;
use crate::serve::state::Stage;

/// Longest that stopping waits for replies to leave, in milliseconds.
const DRAIN_MS: u64 = 10_000;

/// How far stopping is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stopping {
    /// Not begun.
    No,
    /// Replies are leaving, until this moment at the latest.
    Draining(UnixMillis),
    /// The store is closing.
    Closing,
}

impl EventLoop {
    pub(super) fn on_signal(&mut self) {
        let mut bytes = [0; 16];
        if !matches!(self.signals.read(&mut bytes), Ok(1..)) {
            return;
        }
        if self.stopping == Stopping::No
            && self.server.state.stage != (Stage::Stopping { flush: true })
        {
            tracing::info!("asked to stop by a signal");
            self.server.state.stage = Stage::Stopping { flush: true };
        }
    }

    /// Goes on with stopping, if it has been asked for. Returns whether there is another turn.
    pub(super) fn advance_stopping(&mut self) -> bool {
        let Stage::Stopping { flush } = self.server.state.stage else { return true };
        let now = self.server.now();
        match self.stopping {
            Stopping::No => {
                tracing::info!("stopping: no more connections are accepted");
                self.listeners.close();
                let Some(shard) = self.server.shard.as_mut().filter(|_| flush) else {
                    return false;
                };
                shard.flush();
                self.server.stop_reading();
                self.stopping = Stopping::Draining(now.plus(DRAIN_MS));
                true
            }
            Stopping::Draining(until) => {
                if self.server.owes_replies() && now < until {
                    return true;
                }
                if let Some(shard) = &mut self.server.shard {
                    shard.close(now);
                }
                self.stopping = Stopping::Closing;
                // Whatever the shard wants now is started in the next turn.
                self.again.push(usize::MAX);
                true
            }
            Stopping::Closing => {
                let closed = self.server.shard.as_ref().is_none_or(Shard::closed);
                if closed {
                    tracing::info!("the store is closed; goodbye");
                }
                !closed
            }
        }
    }
}
