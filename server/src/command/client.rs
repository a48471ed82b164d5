//! CLIENT: about this connection and the others.
//!
//! Owns: CLIENT LIST's lines and CLIENT KILL's filters.
//! Never knows: sockets.
//! Invariant: CLIENT KILL by filter spares the caller unless asked otherwise.

use super::connection::check_name;
use super::parse::{error, integer, is};
use super::table::flag::{ADMIN, DANGEROUS, LOADING, NOSCRIPT, STALE};
use super::{Command, Context, Group, Outcome, Stop, text};
use crate::connection::Connection;
use crate::resp::{Args, Proto};
use crate::serve::client::{ClientKey, Closing, ReplyMode, Session, Wait};
use crate::serve::state::Pause;

const fn sub(
    name: &'static str,
    arity: i16,
    since: &'static str,
    summary: &'static str,
    run: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Connection, since, summary, run)
        .flags(NOSCRIPT | LOADING | STALE)
}

const OPERATOR: u32 = ADMIN | DANGEROUS | NOSCRIPT | LOADING | STALE;

pub(super) static COMMANDS: &[Command] = &[Command::new(
    "client",
    -2,
    Group::Connection,
    "2.4.0",
    "About connections.",
    super::container,
)
.flags(NOSCRIPT | LOADING | STALE)
.subcommands(SUBCOMMANDS)];

static SUBCOMMANDS: &[Command] = &[
    sub("id", 2, "5.0.0", "Returns the number of the connection.", |cx, _| {
        cx.reply.integer(number(cx.session.key));
        Ok(())
    }),
    sub("getname", 2, "2.6.9", "Returns the name of the connection.", |cx, _| {
        match cx.session.name.as_slice() {
            [] => cx.reply.null(),
            name => cx.reply.bulk(name),
        }
        Ok(())
    }),
    sub("setname", 3, "2.6.9", "Names the connection.", setname),
    sub("setinfo", 4, "7.2.0", "Names the library of the client.", setinfo),
    sub("info", 2, "6.2.0", "Describes the connection.", |cx, _| {
        let line = line(cx.session, None, cx) + "\n";
        cx.reply.text(&line);
        Ok(())
    }),
    sub("list", -2, "2.4.0", "Describes all connections.", list).flags(OPERATOR),
    sub("kill", -3, "2.4.0", "Closes connections.", kill).flags(OPERATOR),
    sub("no-evict", 3, "7.0.0", "Accepted; connections are not evicted.", |cx, args| {
        cx.session.no_evict = on_off(&args[2])?;
        cx.reply.ok();
        Ok(())
    })
    .flags(OPERATOR),
    sub("no-touch", 3, "7.2.0", "Accepted; see the frequency of access.", |cx, args| {
        cx.session.no_touch = on_off(&args[2])?;
        cx.reply.ok();
        Ok(())
    }),
    sub("reply", 3, "3.2.0", "Keeps replies back.", reply),
    sub("pause", -3, "3.0.0", "Makes clients wait.", pause).flags(OPERATOR),
    sub("unpause", 2, "6.2.0", "Lets clients go on.", |cx, _| {
        cx.state.pause = None;
        cx.reply.ok();
        Ok(())
    })
    .flags(OPERATOR),
    sub("unblock", -3, "5.0.0", "Ends a wait for keys.", unblock).flags(OPERATOR),
    sub("getredir", 2, "6.0.0", "Answers -1: there is no tracking.", |cx, _| {
        cx.reply.integer(-1);
        Ok(())
    }),
    sub("trackinginfo", 2, "6.2.0", "Tells that there is no tracking.", |cx, _| {
        cx.reply.map(3);
        cx.reply.bulk(b"flags");
        cx.reply.set(1);
        cx.reply.bulk(b"off");
        cx.reply.bulk(b"redirect");
        cx.reply.integer(-1);
        cx.reply.bulk(b"prefixes");
        cx.reply.array(0);
        Ok(())
    }),
    sub("caching", 3, "6.0.0", "Refused: there is no tracking.", |_, _| {
        Err(Stop::error(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN \
             or OPTOUT mode enabled",
        ))
    }),
    sub("maint_notifications", -2, "8.2.0", "Refused: nothing is ever moved.", |_, _| {
        Err(Stop::error("ERR CLIENT MAINT_NOTIFICATIONS is not supported"))
    }),
    sub("tracking", -3, "6.0.0", "Refused: there is no tracking.", |_, _| {
        Err(Stop::error("ERR CLIENT TRACKING is not supported"))
    }),
];

fn number(key: ClientKey) -> i64 {
    i64::try_from(key.id).unwrap_or(i64::MAX)
}

fn on_off(arg: &[u8]) -> Result<bool, Stop> {
    match arg {
        arg if is(arg, "on") => Ok(true),
        arg if is(arg, "off") => Ok(false),
        _ => Err(text::SYNTAX),
    }
}

fn setname(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    check_name(&args[2])?;
    args[2].clone_into(&mut cx.session.name);
    cx.reply.ok();
    Ok(())
}

fn setinfo(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (field, value) = (args.at(2), args.at(3));
    let slot = match field {
        field if is(field, "lib-name") => &mut cx.session.lib_name,
        field if is(field, "lib-ver") => &mut cx.session.lib_ver,
        _ => {
            let field = String::from_utf8_lossy(&field[..field.len().min(128)]);
            return Err(error(format!("ERR Unrecognized option '{field}'")));
        }
    };
    if !value.iter().all(u8::is_ascii_graphic) {
        let field = String::from_utf8_lossy(field).to_lowercase();
        return Err(error(format!(
            "ERR {field} cannot contain spaces, newlines or special characters."
        )));
    }
    value.clone_into(slot);
    cx.reply.ok();
    Ok(())
}

/// Class of a client as CLIENT LIST TYPE and CLIENT KILL TYPE name it.
fn class(session: &Session) -> &'static str {
    if session.subscriptions() > 0 { "pubsub" } else { "normal" }
}

/// One line of CLIENT LIST. The connection of the running client is at work and not shown.
fn line(session: &Session, connection: Option<&Connection>, cx: &Context<'_>) -> String {
    let seconds = |since: emberlog_engine::UnixMillis| cx.now.since(since) / 1000;
    let mut flags = String::new();
    for (set, letter) in [
        (session.monitor, 'O'),
        (session.subscriptions() > 0, 'P'),
        (session.transaction.open, 'x'),
        (session.transaction.dirty, 'd'),
        (session.closing == Closing::AfterReplies, 'c'),
        (session.closing == Closing::Now, 'A'),
        (session.peer.unix, 'U'),
        (session.no_evict, 'e'),
        (session.no_touch, 'T'),
    ] {
        flags.extend(set.then_some(letter));
    }
    if flags.is_empty() {
        flags.push('N');
    }
    let transaction = &session.transaction;
    let multi = if transaction.open { transaction.queue.len().to_string() } else { "-1".into() };
    let buffers = connection.map_or((0, 0, 0), |connection| {
        let (input, output) = (&connection.input, &connection.output);
        (input.len(), input.capacity() - input.len(), output.buffered())
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} sub={} psub={} \
         ssub=0 multi={multi} watch={} qbuf={} qbuf-free={} argv-mem=0 multi-mem={} obl=0 oll=0 \
         omem={} tot-mem={} events=r cmd={}{}{} user=default redir=-1 resp={} lib-name={} \
         lib-ver={}",
        session.key.id,
        session.peer.addr,
        session.peer.laddr,
        session.peer.fd,
        text(&session.name),
        seconds(session.created_at),
        seconds(session.active_at),
        session.db,
        session.channels.len(),
        session.patterns.len(),
        transaction.watched.len(),
        buffers.0,
        buffers.1,
        transaction.queue_bytes,
        buffers.2,
        buffers.0 + buffers.1 + buffers.2 + transaction.queue_bytes,
        session.last_container,
        if session.last_container.is_empty() { "" } else { "|" },
        session.last_command,
        if session.proto == Proto::Resp3 { 3 } else { 2 },
        text(&session.lib_name),
        text(&session.lib_ver),
    )
}

/// Which clients CLIENT LIST and CLIENT KILL mean.
#[derive(Default)]
struct Filter {
    ids: Option<Vec<i64>>,
    class: Option<String>,
    addr: Option<String>,
    laddr: Option<String>,
    user: Option<String>,
    max_age: Option<i64>,
    spare_me: bool,
}

impl Filter {
    fn matches(&self, session: &Session, cx: &Context<'_>) -> bool {
        let age = i64::try_from(cx.now.since(session.created_at) / 1000).unwrap_or(i64::MAX);
        self.ids.as_ref().is_none_or(|ids| ids.contains(&number(session.key)))
            && self.class.as_ref().is_none_or(|wanted| wanted == class(session))
            && self.addr.as_ref().is_none_or(|addr| *addr == session.peer.addr)
            && self.laddr.as_ref().is_none_or(|laddr| *laddr == session.peer.laddr)
            && self.user.as_ref().is_none_or(|user| user == "default")
            && self.max_age.is_none_or(|least| age >= least)
    }

    fn set(&mut self, option: &[u8], value: &[u8]) -> Result<(), Stop> {
        let text = String::from_utf8_lossy(value).into_owned();
        match option {
            option if is(option, "id") => {
                let id = integer(value).ok().filter(|id| *id > 0);
                self.ids =
                    Some(vec![id.ok_or(Stop::error("ERR client-id should be greater than 0"))?]);
            }
            option if is(option, "type") => self.class = Some(parse_class(&text)?),
            option if is(option, "addr") => self.addr = Some(text),
            option if is(option, "laddr") => self.laddr = Some(text),
            option if is(option, "user") => {
                if text != "default" {
                    return Err(error(format!("ERR No such user '{text}'")));
                }
                self.user = Some(text);
            }
            option if is(option, "maxage") => self.max_age = Some(integer(value)?),
            option if is(option, "skipme") => {
                self.spare_me = match text.to_ascii_lowercase().as_str() {
                    "yes" => true,
                    "no" => false,
                    _ => return Err(text::SYNTAX),
                };
            }
            _ => return Err(text::SYNTAX),
        }
        Ok(())
    }
}

fn parse_class(name: &str) -> Result<String, Stop> {
    let lower = name.to_ascii_lowercase();
    if ["normal", "master", "replica", "slave", "pubsub"].contains(&lower.as_str()) {
        return Ok(lower);
    }
    Err(error(format!("ERR Unknown client type '{name}'")))
}

fn list(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut filter = Filter::default();
    match args.get(2) {
        None => {}
        Some(word) if is(word, "type") && args.len() == 4 => filter.set(b"type", &args[3])?,
        Some(word) if is(word, "id") && args.len() > 3 => {
            let ids: Result<Vec<i64>, Stop> = args.iter().skip(3).map(integer).collect();
            filter.ids = Some(ids.map_err(|_| Stop::error("ERR Invalid client ID"))?);
        }
        Some(_) => return Err(text::SYNTAX),
    }
    let mut all: Vec<(&Session, Option<&Connection>)> =
        cx.clients.others().map(|c| (&c.session, Some(&c.connection))).collect();
    all.push((&*cx.session, None));
    all.sort_unstable_by_key(|(session, _)| session.key.id);
    let mut lines = String::new();
    for (session, connection) in all.into_iter().filter(|(s, _)| filter.matches(s, cx)) {
        lines.push_str(&line(session, connection, cx));
        lines.push('\n');
    }
    cx.reply.text(&lines);
    Ok(())
}

fn kill(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len() == 3 {
        let addr = String::from_utf8_lossy(&args[2]).into_owned();
        let filter = Filter { addr: Some(addr), ..Filter::default() };
        if close_matching(cx, &filter) == 0 {
            return Err(Stop::error("ERR No such client"));
        }
        cx.reply.ok();
        return Ok(());
    }
    let mut filter = Filter { spare_me: true, ..Filter::default() };
    let options = args.from(2);
    for at in (0..options.len()).step_by(2) {
        filter.set(options.at(at), options.get(at + 1).ok_or(text::SYNTAX)?)?;
    }
    let closed = close_matching(cx, &filter);
    cx.reply.size(closed);
    Ok(())
}

fn close_matching(cx: &mut Context<'_>, filter: &Filter) -> usize {
    let others: Vec<ClientKey> = cx
        .clients
        .others()
        .filter(|client| filter.matches(&client.session, cx))
        .map(|client| client.session.key)
        .collect();
    for key in &others {
        cx.clients.close(*key, Closing::Now);
    }
    let me = !filter.spare_me && filter.matches(cx.session, cx);
    if me {
        cx.session.close(Closing::AfterReplies);
    }
    others.len() + usize::from(me)
}

fn reply(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match args.at(2) {
        mode if is(mode, "on") => {
            cx.session.reply_mode = ReplyMode::On;
            cx.reply.ok();
        }
        mode if is(mode, "off") => cx.session.reply_mode = ReplyMode::Off,
        mode if is(mode, "skip") => {
            if cx.session.reply_mode != ReplyMode::Off {
                cx.session.reply_mode = ReplyMode::SkipNext;
            }
        }
        _ => return Err(text::SYNTAX),
    }
    Ok(())
}

fn pause(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let millis = integer(&args[2])
        .map_err(|_| Stop::error("ERR timeout is not an integer or out of range"))?;
    let millis = u64::try_from(millis).map_err(|_| Stop::error("ERR timeout is negative"))?;
    let writes_only = match args.get(3) {
        None => false,
        Some(_) if args.len() > 4 => return Err(text::SYNTAX),
        Some(mode) if is(mode, "all") => false,
        Some(mode) if is(mode, "write") => true,
        Some(_) => return Err(Stop::error("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    cx.state.pause = Some(Pause { until: cx.now.plus(millis), writes_only });
    cx.reply.ok();
    Ok(())
}

fn unblock(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let id = integer(&args[2])?;
    let with_error = match args.get(3) {
        None => false,
        Some(_) if args.len() > 4 => return Err(text::SYNTAX),
        Some(reason) if is(reason, "timeout") => false,
        Some(reason) if is(reason, "error") => true,
        Some(_) => {
            return Err(Stop::error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    let waiting = cx
        .clients
        .others_mut()
        .find(|client| number(client.session.key) == id && client.wait == Wait::Keys);
    let found = waiting.is_some();
    if let Some(client) = waiting {
        client.session.waited = true;
        client.session.unblocked = with_error;
        let key = client.session.key;
        cx.state.unblocked.push(key);
    }
    cx.reply.integer(i64::from(found));
    Ok(())
}
