//! CONFIG: settings while running.
//!
//! Owns: what a change of a setting triggers.
//! Never knows: what settings there are (see `config::table`).
//! Invariant: CONFIG SET changes all of the given settings or none.

use super::parse::{error, is, wrong_arity};
use super::table::flag::{ADMIN, DANGEROUS, LOADING, NOSCRIPT, STALE};
use super::{Command, Context, Group, Outcome, Stop};
use crate::config::{self, Config, PrefixStats};
use crate::glob;
use crate::resp::Args;
use crate::serve::state::Changed;
use crate::serve::stats::Stats;

const fn sub(
    name: &'static str,
    arity: i16,
    summary: &'static str,
    run: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Server, "2.0.0", summary, run)
        .flags(ADMIN | DANGEROUS | NOSCRIPT | LOADING | STALE)
}

pub(super) static COMMANDS: &[Command] = &[sub("config", -2, "About settings.", super::container)
    .flags(NOSCRIPT | LOADING | STALE)
    .subcommands(SUBCOMMANDS)];

static SUBCOMMANDS: &[Command] = &[
    sub("get", -3, "Returns settings that match patterns.", get),
    sub("set", -4, "Changes settings.", set),
    sub("resetstat", 2, "Sets the counters of INFO to zero.", |cx, _| {
        cx.state.stats = Stats::default();
        cx.state.prefixes.fill(PrefixStats::default());
        cx.reply.ok();
        Ok(())
    }),
    sub("rewrite", 2, "Refused: the configuration file is the operator's.", |_, _| {
        Err(Stop::error("ERR emberlog does not rewrite its configuration file"))
    }),
];

fn get(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let wanted = |name: &str| {
        let mut patterns = args.iter().skip(2);
        patterns.any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes()))
    };
    let found: Vec<&config::Key> = config::keys().iter().filter(|key| wanted(key.name)).collect();
    cx.reply.map(found.len());
    for key in found {
        let value = key.show(&cx.state.config);
        cx.reply.bulk(key.name.as_bytes());
        cx.reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn set(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if !args.len().is_multiple_of(2) {
        return Err(wrong_arity("config|set"));
    }
    let mut changed = cx.state.config.clone();
    for at in (2..args.len()).step_by(2) {
        let name = String::from_utf8_lossy(&args[at]).into_owned();
        let value = std::str::from_utf8(&args[at + 1]).map_err(|_| failed(&name, "not UTF-8"))?;
        let Some(key) = config::find(&name) else {
            return Err(error(format!(
                "ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
            )));
        };
        if !key.live && key.show(&changed) != value {
            return Err(failed(&name, "can't set immutable config"));
        }
        config::set(&mut changed, &name, value).map_err(|e| failed(&name, &e.problem))?;
    }
    changed.validate().map_err(|e| failed(&e.key, &e.problem))?;
    apply(cx, changed, args);
    cx.reply.ok();
    Ok(())
}

fn failed(name: &str, problem: &str) -> Stop {
    error(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {problem}"))
}

fn apply(cx: &mut Context<'_>, changed: Config, args: Args<'_>) {
    let old = std::mem::replace(&mut cx.state.config, changed);
    for name in (2..args.len()).step_by(2).map(|at| args.at(at)) {
        // The values of passwords stay out of the log.
        tracing::info!(key = %String::from_utf8_lossy(name), "setting changed");
        if is(name, "loglevel") {
            cx.state.changed.push(Changed::LogLevel(cx.state.config.loglevel));
        } else if is(name, "tcp-keepalive") {
            cx.state.changed.push(Changed::TcpKeepalive);
        }
    }
    let (budget, ack) = (cx.state.memory_budget(), cx.state.config.ack);
    let compression = cx.state.config.compression;
    if let Some(shard) = cx.shard.as_deref_mut() {
        if old.maxmemory != cx.state.config.maxmemory {
            shard.set_memory_budget(budget);
        }
        if old.compression != compression {
            shard.set_compression(compression);
        }
        if old.ack != ack {
            shard.set_ack(ack);
        }
    }
}
