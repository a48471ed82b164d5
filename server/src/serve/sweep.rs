//! Once a second: clients that have been idle, half open or slow for too long; limits on output.
//!
//! Owns: the timeouts and `client-output-buffer-limit`.
//! Never knows: sockets.
//! Invariant: no client holds memory for ever without doing anything for it.

use emberlog_engine::UnixMillis;

use super::Server;
use super::client::{Client, Closing, Wait};
use crate::config::{ClientClass, Config};

/// A client that has sent nothing for so long keeps no more memory than it needs.
const SHRINK_AFTER_MS: u64 = 2_000;

/// What to do with a connection after its output has been written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AfterFlush {
    /// Nothing.
    Nothing,
    /// Close it.
    Close,
}

fn class(client: &Client) -> ClientClass {
    if client.session.subscriptions() > 0 { ClientClass::Pubsub } else { ClientClass::Normal }
}

/// Why a client is closed by the sweep.
fn verdict(client: &mut Client, config: &Config, now: UnixMillis) -> Option<&'static str> {
    let past = |since: UnixMillis, seconds: u32| {
        seconds > 0 && now.since(since) >= u64::from(seconds) * 1000
    };
    let connection = &client.connection;
    if client.wait == Wait::Nothing {
        let half_open = !client.session.authenticated
            && past(client.session.created_at, config.half_open_timeout);
        let stuck = connection.parser.is_partial() || !connection.input.is_empty();
        if half_open || stuck && past(client.received_at, config.half_open_timeout) {
            return Some("half open");
        }
        let listens = client.session.subscriptions() > 0 || client.session.monitor;
        if !listens && past(client.received_at, config.timeout) {
            return Some("idle");
        }
    }
    let limit = config.client_output_buffer_limit.of(class(client));
    let over = limit.soft_bytes > 0 && connection.output.buffered() as u64 > limit.soft_bytes;
    if !over {
        client.over_soft_since = None;
        return None;
    }
    let since = *client.over_soft_since.get_or_insert(now);
    (now.since(since) >= limit.soft_seconds * 1000).then_some("above the soft output limit")
}

impl Server {
    /// Closes clients that have been idle, half open or slow for too long.
    pub fn sweep(&mut self) {
        let now = self.now;
        let mut closed = Vec::new();
        let (mut timeouts, mut over) = (0, 0);
        for client in self.clients.others_mut() {
            if now.since(client.received_at) > SHRINK_AFTER_MS {
                client.connection.input.shrink();
            }
            let Some(why) = verdict(client, &self.state.config, now) else { continue };
            let soft = client.over_soft_since.is_some();
            timeouts += u64::from(!soft);
            over += u64::from(soft);
            tracing::debug!(client = client.session.peer.addr, why, "closing a client");
            closed.push(client.session.key);
        }
        self.state.stats.timeouts += timeouts;
        self.state.stats.output_limit_disconnections += over;
        for key in closed {
            self.clients.close(key, Closing::Now);
        }
    }

    /// Closes the client if its unsent output is above the hard limit of its class.
    pub(super) fn check_output(&mut self, client: &mut Client) {
        let limit = self.state.config.client_output_buffer_limit.of(class(client)).hard_bytes;
        let pending = client.connection.output.buffered();
        if limit > 0 && pending as u64 > limit && client.session.closing < Closing::Now {
            let peer = client.session.peer.addr.as_str();
            tracing::warn!(client = peer, pending, limit, "closing a client that does not read");
            self.state.stats.output_limit_disconnections += 1;
            client.session.close(Closing::Now);
        }
    }

    /// To be called when the output of the client in slot `index` has been written as far as
    /// possible.
    pub fn after_flush(&mut self, index: usize) -> AfterFlush {
        let Some(mut client) = self.clients.take(index) else { return AfterFlush::Nothing };
        client.flushing = false;
        self.check_output(&mut client);
        self.clients.put_back(client);
        if self.is_finished(index) { AfterFlush::Close } else { AfterFlush::Nothing }
    }
}
