//! LATENCY.
//!
//! Owns: its replies.
//! Never knows: how slow events are found (see `serve::dispatch`).
//! Invariant: only what has been measured is shown.

use std::fmt::Write;

use super::Group;
use super::lookup::all;
use super::parse::is;
use super::table::flag::{ADMIN, DANGEROUS, LOADING, NOSCRIPT, STALE};
use super::{Command, Context, Outcome, Stop};
use crate::resp::Args;
use crate::serve::latency::Sample;

const fn sub(
    name: &'static str,
    arity: i16,
    summary: &'static str,
    run: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Server, "2.8.13", summary, run)
        .flags(ADMIN | DANGEROUS | LOADING | STALE | NOSCRIPT)
}

pub(super) static COMMANDS: &[Command] =
    &[sub("latency", -2, "About slow events.", super::container).subcommands(SUBCOMMANDS)];

static SUBCOMMANDS: &[Command] = &[
    sub("latest", 2, "Lists events with their last and longest.", latest),
    sub("history", 3, "Lists the past of an event.", history),
    sub("reset", -2, "Forgets events.", |cx, args| {
        let named = args.from(2);
        let wanted = |name: &str| named.is_empty() || named.iter().any(|word| is(word, name));
        let count = cx.state.latency.forget(wanted);
        cx.reply.size(count);
        Ok(())
    }),
    sub("histogram", -2, "Shows how long commands took, those whose time is measured.", histogram),
    sub("doctor", 2, "Says what there is to say.", doctor),
    sub("graph", 3, "Refused: see LATENCY HISTORY.", |_, _| {
        Err(Stop::error("ERR graphs are not drawn; see LATENCY HISTORY"))
    }),
];

fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn latest(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let events = cx.state.latency.events();
    cx.reply.array(events.len());
    for event in events {
        let last = event.samples.back().copied().unwrap_or(Sample { second: 0, millis: 0 });
        cx.reply.array(4);
        cx.reply.bulk(event.name.as_bytes());
        cx.reply.integer(number(last.second));
        cx.reply.integer(number(last.millis));
        cx.reply.integer(number(event.max_millis));
    }
    Ok(())
}

fn history(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let event = cx.state.latency.events().iter().find(|event| is(&args[2], event.name));
    let Some(event) = event else {
        cx.reply.array(0);
        return Ok(());
    };
    cx.reply.array(event.samples.len());
    for sample in &event.samples {
        cx.reply.array(2);
        cx.reply.integer(number(sample.second));
        cx.reply.integer(number(sample.millis));
    }
    Ok(())
}

fn histogram(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let named = args.from(2);
    let wanted = |name: &str| named.is_empty() || named.iter().any(|word| is(word, name));
    let rows: Vec<(&str, Vec<(i64, i64)>)> = all()
        .zip(&cx.state.stats.by_command)
        .filter(|(command, _)| wanted(command.name))
        .map(|(command, stats)| (command.name, stats.histogram.cumulative()))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    cx.reply.map(rows.len());
    for (name, rows) in rows {
        cx.reply.bulk(name.as_bytes());
        cx.reply.map(2);
        cx.reply.bulk(b"calls");
        cx.reply.integer(rows.last().map_or(0, |(_, calls)| *calls));
        cx.reply.bulk(b"histogram_usec");
        cx.reply.map(rows.len());
        for (bound, calls) in rows {
            cx.reply.integer(bound);
            cx.reply.integer(calls);
        }
    }
    Ok(())
}

fn doctor(cx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let threshold = cx.state.config.latency_monitor_threshold;
    let mut text = match threshold {
        0 => "Slow events are not recorded: CONFIG SET latency-monitor-threshold <milliseconds>.\n"
            .to_owned(),
        millis => format!("Events of at least {millis} ms are recorded.\n"),
    };
    for event in cx.state.latency.events() {
        let (name, count, max) = (event.name, event.samples.len(), event.max_millis);
        let _ = writeln!(text, "{name}: slow in {count} seconds, at most {max} ms.");
    }
    text.push_str("See also SLOWLOG and the sections ember and commandstats of INFO.\n");
    cx.reply.text(&text);
    Ok(())
}
