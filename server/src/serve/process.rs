//! From bytes that have arrived to commands that run, one after the other.
//!
//! Owns: the loop over a client's commands, the limits of the protocol.
//! Never knows: sockets, what any command does.
//! Invariant: a client's commands run in the order in which they arrived, and none while it waits or does not
//! read its replies.

use emberlog_engine::Namespace;

use super::client::{Client, Closing, Wait};
use super::{OUTPUT_MARK_BYTES, Server};
use crate::resp::{Limits, Parsed, Reply, ahead};

/// Most arguments of a command, as in Redis.
const ARGS_MAX: usize = 1 << 20;

impl Server {
    /// Parses and runs what the client in slot `index` has sent, until it has to wait.
    pub fn process(&mut self, index: usize) {
        let Some(mut client) = self.clients.take(index) else { return };
        client.drained = false;
        let buffered = client.connection.output.buffered();
        // Commands that are left of those whose keys have been warmed.
        let mut warmed = 0;
        while client.wait == Wait::Nothing
            && client.session.closing < Closing::AfterReplies
            && client.connection.output.pending() < OUTPUT_MARK_BYTES
        {
            if client.session.assembly.is_some() && !self.assemble(&mut client) {
                break;
            }
            if warmed == 0 {
                warmed = self.warm_ahead(&client);
            }
            warmed = warmed.saturating_sub(1);
            let authenticated = client.session.authenticated;
            let limits = if authenticated { self.limits() } else { Limits::UNAUTHENTICATED };
            let connection = &mut client.connection;
            match connection.parser.parse(connection.input.unread(), &limits) {
                Ok(Parsed::Incomplete { missing }) => {
                    connection.missing = missing;
                    client.drained = true;
                    self.check_query_buffer(&mut client);
                    break;
                }
                Ok(Parsed::Command) => {
                    connection.missing = 1;
                    self.run(&mut client);
                }
                Ok(Parsed::Long(long)) => {
                    if !self.take_in(&mut client, long) {
                        break;
                    }
                }
                Err(error) => self.fail(&mut client, &format!("ERR {error}")),
            }
        }
        client.connection.input.rest(&mut self.clients.pool);
        self.moved_bytes += client.connection.output.buffered().saturating_sub(buffered);
        self.check_output(&mut client);
        if client.connection.output.pending() > 0 || client.session.closing != Closing::No {
            self.clients.note(&mut client);
        }
        self.clients.put_back(client);
    }

    /// Warms the caches for the first command of each of these clients.
    pub fn warm(&self, arrived: &[(usize, bool)]) {
        let first = |(index, _): &(usize, bool)| {
            let client = self.clients.peek(*index)?;
            let name = ahead::names(client.connection.input.unread()).next()?;
            Some((Namespace(client.session.db), name))
        };
        if let (Some(shard), 2..) = (&self.shard, arrived.len()) {
            shard.warm(arrived.iter().filter_map(first));
        }
    }

    /// Warms the caches for the commands at the front of the client's input, if there are several.
    /// Returns how many commands that was good for.
    fn warm_ahead(&self, client: &Client) -> usize {
        let input = client.connection.input.unread();
        let namespace = Namespace(client.session.db);
        let mut names = ahead::names(input).map(|name| (namespace, name));
        let (Some(shard), Some(first), Some(second)) = (&self.shard, names.next(), names.next())
        else {
            return usize::MAX;
        };
        shard.warm([first, second].into_iter().chain(names))
    }

    fn limits(&self) -> Limits {
        Limits {
            args_max: ARGS_MAX,
            bulk_max: self.state.config.proto_max_bulk_len,
            whole_max: self.whole_max(),
            unauthenticated: false,
        }
    }

    fn check_query_buffer(&mut self, client: &mut Client) {
        let limit = self.state.config.client_query_buffer_limit;
        let wanted = client.connection.input.len().saturating_add(client.connection.missing);
        if wanted > limit {
            self.fail(client, "ERR Protocol error: the command is above client-query-buffer-limit");
        }
    }

    /// Answers an error that ends the connection.
    fn fail(&mut self, client: &mut Client, error: &str) {
        self.state.stats.protocol_errors += 1;
        let peer = client.session.peer.addr.as_str();
        tracing::info!(client = peer, error, "closing a client that does not speak the protocol");
        let proto = client.session.proto;
        let out = client.connection.output.buffer(&mut self.clients.pool);
        Reply::new(out, proto).error(error);
        client.session.close(Closing::AfterReplies);
    }
}
