//! DEBUG, for test suites; refused unless enabled by a setting.
//!
//! Owns: the few subcommands that suites use.
//! Never knows: anything it could break.
//! Invariant: nothing here can lose data or stop the server.

use super::parse::{error, float};
use super::table::flag::{ADMIN, BLOCKING, DANGEROUS, LOADING, NOSCRIPT, STALE};
use super::{Command, Context, Group, Outcome, Stop};
use crate::resp::Args;
use crate::serve::client::Until;

const fn sub(
    name: &'static str,
    arity: i16,
    summary: &'static str,
    run: super::Handler,
) -> Command {
    Command::new(name, arity, Group::Server, "1.0.0", summary, run)
        .flags(ADMIN | DANGEROUS | NOSCRIPT | LOADING | STALE | BLOCKING)
}

pub(super) static COMMANDS: &[Command] =
    &[sub("debug", -2, "For test suites.", super::container).subcommands(SUBCOMMANDS)];

static SUBCOMMANDS: &[Command] = &[
    sub("sleep", 3, "Makes this connection wait.", sleep),
    sub("set-active-expire", 3, "Accepted; expiry is always active.", |cx, _| {
        allowed(cx)?;
        cx.reply.ok();
        Ok(())
    }),
    sub("error", 3, "Answers an error.", |cx, args| {
        allowed(cx)?;
        Err(error(String::from_utf8_lossy(&args[2]).into_owned()))
    }),
];

fn allowed(cx: &Context<'_>) -> Result<(), Stop> {
    if cx.state.config.enable_debug_command {
        return Ok(());
    }
    Err(Stop::error(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"yes\", \
         it is",
    ))
}

fn sleep(cx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    allowed(cx)?;
    let seconds = float(&args[2])?.clamp(0.0, 3600.0);
    if !cx.session.waited && !cx.atomic {
        let millis = std::time::Duration::from_secs_f64(seconds).as_millis();
        let deadline = cx.now.plus(u64::try_from(millis).unwrap_or(u64::MAX));
        return Err(Stop::Until(Until { durable: None, deadline: Some(deadline) }));
    }
    cx.reply.ok();
    Ok(())
}
