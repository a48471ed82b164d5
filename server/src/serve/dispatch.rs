//! From a parsed request to a reply in the client's output.
//!
//! Owns: the checks before a command runs, in the order of Redis, and what follows it: barriers,
//! counters, the slow log, MONITOR.
//! Never knows: what any command does.
//! Invariant: a command that stops has added nothing to the output; it is consumed from the input
//! only when it has answered.

use emberlog_engine::{Lsn, Room};

use super::client::{Client, Closing, Progress, Queued, ReplyMode, Session};
use super::state::{Stage, State};
use super::{Server, suspend};
use crate::command::{Context, RECORD_OVERHEAD, Resolved, Seals, Stop, flag, resolve, text};
use crate::output::Hold;
use crate::resp::{Args, OwnedArgs, Proto, Reply};

/// Most bytes of arguments that MULTI queues, so that a transaction stays a batch.
const QUEUE_BYTES_MAX: usize = 64 << 20;

impl Server {
    /// Runs the command at the front of the client's input.
    pub(super) fn run(&mut self, client: &mut Client) {
        let Client { session, connection, .. } = client;
        let consumed = connection.parser.consumed();
        let args = connection.parser.args(connection.input.unread());
        if args.is_empty() {
            connection.input.consume(consumed);
            connection.parser.reset();
            return;
        }
        session.active_at = self.now;
        let start = connection.output.position();
        let proto = session.proto;
        let out = connection.output.buffer(&mut self.clients.pool);
        let mut cx = Context {
            state: &mut self.state,
            clients: &mut self.clients,
            session,
            reply: Reply::new(out, proto),
            now: self.now,
            barrier: Lsn::NONE,
            slot: 0,
            queued: false,
            atomic: false,
            in_script: false,
            wrote: false,
            clock_us: self.clock_us,
            overlay: None,
            durable: false,
            seals: Seals::default(),
            messages: Vec::new(),
            shard: self.shard.as_mut(),
        };
        let stopped = execute(&mut cx, args).err();
        // Of a command that failed, or of a transaction without writes.
        cx.atomic = false;
        cx.send_messages();
        let hold = Hold { barrier: cx.barrier, durable: cx.durable };
        match stopped {
            None => {}
            Some(Stop::Error(text)) => {
                cx.truncate(start);
                cx.reply.error(&text);
                cx.state.stats.error(&text);
            }
            Some(stop) => {
                cx.truncate(start);
                return self.suspend(client, &stop);
            }
        }
        self.finish(client, start, hold);
        if !self.state.blocked.is_empty() {
            self.serve_blocked();
        }
    }

    /// Consumes the command that has answered, and holds its reply back as `hold` says.
    fn finish(&mut self, client: &mut Client, start: usize, hold: Hold) {
        let Client { session, connection, pinned, .. } = client;
        connection.input.consume(connection.parser.consumed());
        connection.parser.reset();
        session.waited = false;
        session.unblocked = false;
        if let Some(blocked) = session.blocked.take() {
            self.state.blocked.remove(session.key, &blocked);
        }
        session.load_failed = false;
        session.script = Progress::default();
        if !session.gathered.is_empty() {
            session.gathered.clear();
        }
        if *pinned {
            *pinned = false;
            if let Some(shard) = &mut self.shard {
                shard.release(suspend::ticket(session.key));
            }
        }
        if session.assemblies > 0 {
            session.drop_assembly(self.shard.as_mut());
            session.assemblies = 0;
        }
        if session.intake.is_some() {
            session.drop_intake(self.shard.as_mut());
        }
        if session.reply_mode != ReplyMode::On {
            keep_back(session, connection.output.buffer(&mut self.clients.pool), start);
        }
        let mut pieces = std::mem::take(&mut session.reply_pieces);
        if connection.output.position() == start {
            pieces.clear();
            self.drop_fetches(client);
        }
        let Client { session, connection, .. } = client;
        self.listen_for_expiry();
        let messages = std::mem::take(&mut self.state.own_messages);
        if pieces.is_empty() {
            connection.output.buffer(&mut self.clients.pool).extend_from_slice(&messages);
        } else if let Some(last) = pieces.last_mut() {
            last.extend_from_slice(&messages);
        }
        let enough = if hold.durable { self.durable } else { self.acked };
        if hold.barrier > enough && connection.output.position() > start {
            if self.poison_told {
                // Nothing will be acknowledged any more, so this must not wait for it.
                let out = connection.output.buffer(&mut self.clients.pool);
                out.truncate(start);
                Reply::new(out, session.proto).error(suspend::NOT_ACKNOWLEDGED);
                return self.drop_fetches(client);
            }
            connection.output.hold(start, hold);
        }
        if !session.fetches.is_empty() {
            connection.output.insert(&std::mem::take(&mut session.fetches));
        }
        connection.output.append(pieces);
    }
}

/// Applies CLIENT REPLY to the reply that begins at `start`.
fn keep_back(session: &mut Session, out: &mut Vec<u8>, start: usize) {
    match session.reply_mode {
        ReplyMode::On => {}
        ReplyMode::Off => out.truncate(start),
        ReplyMode::SkipNext => session.reply_mode = ReplyMode::Skip,
        ReplyMode::Skip => {
            out.truncate(start);
            session.reply_mode = ReplyMode::On;
        }
    }
}

/// Checks and runs one request.
fn execute(cx: &mut Context<'_>, args: Args<'_>) -> Result<(), Stop> {
    let resolved = match resolve(args) {
        Ok(resolved) => resolved,
        Err(stop) => {
            if is_http(args) {
                tracing::warn!(client = cx.session.peer.addr, "closing a client that speaks HTTP");
                cx.session.close(Closing::Now);
            }
            return Err(refuse(cx, stop));
        }
    };
    let flags = resolved.command.flags;
    if let Err(stop) = check(cx, resolved) {
        cx.state.stats.by_command[resolved.id].rejected += 1;
        return Err(refuse(cx, stop));
    }
    if let Some(stop) = cx.session.refused_intake() {
        return Err(refuse(cx, stop));
    }
    if cx.session.transaction.open && !flags.has(flag::NOT_QUEUED) {
        return queue(cx, resolved, args).map_err(|stop| refuse(cx, stop));
    }
    if let Some(pause) = cx.state.pause
        && cx.now < pause.until
        && (!pause.writes_only || flags.has(flag::WRITE) || queue_writes(cx, resolved))
        && resolved.command.name != "unpause"
    {
        return Err(Stop::Pause);
    }
    make_room(cx, resolved, args)?;
    call(cx, resolved, args)
}

/// Whether a browser was led to send requests here: its body could be commands.
fn is_http(args: Args<'_>) -> bool {
    args.get(0).is_some_and(|name| {
        name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
    })
}

/// Whether this is EXEC of a queue that writes.
fn queue_writes(cx: &Context<'_>, resolved: Resolved) -> bool {
    let queue = &cx.session.transaction.queue;
    resolved.command.name == "exec" && queue.iter().any(|q| q.command.flags.has(flag::WRITE))
}

/// A request refused while MULTI queues makes EXEC abort.
fn refuse(cx: &mut Context<'_>, stop: Stop) -> Stop {
    if cx.session.transaction.open {
        cx.session.transaction.refused = true;
    }
    stop
}

/// What may forbid a command, whatever its arguments.
fn check(cx: &Context<'_>, resolved: Resolved) -> Result<(), Stop> {
    let command = resolved.command;
    let flags = command.flags;
    if !cx.session.authenticated && !flags.has(flag::NO_AUTH) {
        return Err(Stop::error("NOAUTH Authentication required."));
    }
    if cx.state.stage == Stage::Loading && !flags.has(flag::LOADING) {
        return Err(text::LOADING);
    }
    if cx.session.proto == Proto::Resp2
        && cx.session.subscriptions() > 0
        && !flags.has(flag::IN_PUBSUB)
    {
        return Err(Stop::Error(
            format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / \
                 RESET are allowed in this context",
                command.name
            )
            .into(),
        ));
    }
    if cx.session.transaction.open && flags.has(flag::NO_MULTI) {
        return Err(Stop::error("ERR Command not allowed inside a transaction"));
    }
    Ok(())
}

fn queue(cx: &mut Context<'_>, resolved: Resolved, args: Args<'_>) -> Result<(), Stop> {
    let transaction = &mut cx.session.transaction;
    let bytes = args.bytes() + RECORD_OVERHEAD;
    if transaction.queue_bytes + bytes > QUEUE_BYTES_MAX {
        return Err(Stop::error("ERR the transaction is longer than 64 MiB"));
    }
    transaction.queue_bytes += bytes;
    let queued = Queued { command: resolved.command, id: resolved.id, args: OwnedArgs::from(args) };
    transaction.queue.push(queued);
    cx.reply.simple("QUEUED");
    Ok(())
}

/// Makes sure before a write that the log can take its arguments.
fn make_room(cx: &mut Context<'_>, resolved: Resolved, args: Args<'_>) -> Result<(), Stop> {
    let command = resolved.command;
    if !command.flags.has(flag::WRITE) {
        return Ok(());
    }
    let keys = if command.keys.may_be_many() { args.len() } else { 1 };
    let bytes = args.bytes() + keys * RECORD_OVERHEAD;
    let grows = command.flags.has(flag::DENYOOM);
    let shard = cx.shard()?;
    match if grows { shard.room(bytes) } else { shard.room_for_delete(bytes) } {
        Room::Yes => Ok(()),
        Room::Wait => Err(Stop::Room),
        Room::Full => Err(text::FULL),
        Room::Poisoned => Err(text::POISONED),
    }
}

fn call(cx: &mut Context<'_>, resolved: Resolved, args: Args<'_>) -> Result<(), Stop> {
    let clock_us = cx.clock_us;
    let command = resolved.command;
    cx.session.last_command = command.name;
    cx.session.last_container = resolved.container;
    let started = if command.flags.has(flag::TIMED) { clock_us() } else { 0 };
    if command.keys.may_be_many() {
        all_resident(cx, command.keys.of(args))?;
        cx.refuse_ended(command)?;
    }
    let outcome = (command.handler)(cx, args);
    match &outcome {
        Ok(()) => {}
        Err(Stop::Error(_)) => cx.state.stats.by_command[resolved.id].failed += 1,
        Err(_) => return outcome,
    }
    cx.state.stats.commands += 1;
    let counters = &mut cx.state.stats.by_command[resolved.id];
    counters.calls += 1;
    if command.flags.has(flag::TIMED) {
        let usec = clock_us().saturating_sub(started);
        counters.usec += usec;
        counters.histogram.add(usec);
        remember_if_slow(cx, args, usec);
    }
    // A script is shown when it begins, so that its commands follow it.
    if !command.flags.has(flag::SCRIPT) {
        cx.show(command, args, false);
    }
    outcome
}

/// Looks all keys up, so that one stop reports all that are cold.
fn all_resident<'a>(
    cx: &mut Context<'_>,
    keys: impl Iterator<Item = &'a [u8]>,
) -> Result<(), Stop> {
    for name in keys {
        if let Ok(key) = cx.key(name) {
            cx.find_to_replace(&key)?;
        }
    }
    Ok(())
}

fn remember_if_slow(cx: &mut Context<'_>, args: Args<'_>, usec: u64) {
    let (millis, limit) = (usec / 1000, cx.state.config.latency_monitor_threshold);
    if limit > 0 && millis >= limit {
        cx.state.latency.add("command", millis, cx.now);
    }
    let threshold = cx.state.config.slowlog_log_slower_than;
    if u64::try_from(threshold).is_ok_and(|threshold| usec >= threshold) {
        let State { slowlog, config, .. } = &mut *cx.state;
        let client = (cx.session.peer.addr.as_str(), cx.session.name.as_slice());
        slowlog.add(args, usec, cx.now, client, config.slowlog_max_len);
    }
}
