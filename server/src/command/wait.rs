//! WAIT and WAITAOF: until writes are where they should be.
//!
//! Owns: what they wait for. There are no replicas, so only this server's disk counts.
//! Never knows: how waiting is done.
//! Invariant: the numbers answered are true when the reply is written.

use super::parse::integer;
use super::table::flag::{BLOCKING, NOSCRIPT};
use super::{Command, Context, Group, Outcome, Stop};
use crate::resp::Args;
use crate::serve::client::Until;

pub(super) static COMMANDS: &[Command] = &[
    Command::new(
        "wait",
        3,
        Group::Generic,
        "3.0.0",
        "Waits until replicas have the writes of the connection.",
        wait,
    )
    .flags(NOSCRIPT | BLOCKING),
    Command::new(
        "waitaof",
        4,
        Group::Generic,
        "7.2.0",
        "Waits until the writes of the connection are on stable storage.",
        waitaof,
    )
    .flags(NOSCRIPT | BLOCKING),
];

/// The moment a wait of `arg` milliseconds ends; none for 0.
fn deadline(cx: &Context<'_>, arg: &[u8]) -> Result<Option<emberlog_engine::UnixMillis>, Stop> {
    let millis =
        integer(arg).map_err(|_| Stop::error("ERR timeout is not an integer or out of range"))?;
    let millis = u64::try_from(millis).map_err(|_| Stop::error("ERR timeout is negative"))?;
    Ok((millis > 0).then(|| cx.now.plus(millis)))
}

fn wait(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let replicas = integer(&args[1])?;
    let deadline = deadline(cx, &args[2])?;
    if replicas > 0 && !cx.session.waited && !cx.atomic {
        return Err(Stop::Until(Until { durable: None, deadline }));
    }
    cx.reply.integer(0);
    Ok(())
}

fn waitaof(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (local, replicas) = (integer(&args[1])?, integer(&args[2])?);
    let deadline = deadline(cx, &args[3])?;
    if !(0..=1).contains(&local) {
        return Err(Stop::error("ERR value is out of range, must be between 0 and 1"));
    }
    if replicas < 0 {
        return Err(Stop::error("ERR value is out of range, must be positive"));
    }
    let last = cx.session.last_lsn;
    let shard = cx.shard()?;
    let durable = shard.durable_lsn() >= last;
    if !durable {
        shard.flush();
    }
    let satisfied = replicas == 0 && (local == 0 || durable);
    if !satisfied && !cx.session.waited && !cx.atomic {
        let durable = (replicas == 0).then_some(last);
        return Err(Stop::Until(Until { durable, deadline }));
    }
    cx.reply.array(2);
    cx.reply.integer(i64::from(durable));
    cx.reply.integer(0);
    Ok(())
}
