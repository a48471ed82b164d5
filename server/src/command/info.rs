//! INFO.
//!
//! Owns: its sections and the names of their fields, which clients and dashboards read.
//! Never knows: how the numbers come about.
//! Invariant: a field keeps its name and unit; lines end in CRLF.

use std::fmt::{Display, Write};

use emberlog_engine::Namespace;

use super::Context;
use super::lookup::all;
use super::parse::is;
use crate::resp::Args;
use crate::serve::state::Stage;
use crate::{EMBERLOG_VERSION, REDIS_VERSION};

type Section = fn(&mut Context<'_>, &mut Lines);

/// Name, whether it is shown without being asked for, and its lines.
const SECTIONS: [(&str, bool, Section); 13] = [
    ("Server", true, server),
    ("Clients", true, clients),
    ("Memory", true, memory),
    ("Persistence", true, persistence),
    ("Stats", true, stats),
    ("Replication", true, replication),
    ("CPU", true, cpu),
    ("Ember", true, ember),
    ("Sessions", true, super::prefix::sessions),
    ("Prefixes", true, super::prefix::prefixes),
    ("Commandstats", false, commandstats),
    ("Errorstats", true, errorstats),
    ("Keyspace", true, keyspace),
];

/// Lines of `name:value`.
pub(super) struct Lines(String);

impl Lines {
    pub(super) fn put(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.0, "{name}:{value}\r\n");
    }
}

/// The sections that `names` ask for; the usual ones if none is named.
pub(super) fn text(cx: &mut Context<'_>, names: Args<'_>) -> String {
    let mut lines = Lines(String::with_capacity(4096));
    for (title, usual, section) in SECTIONS {
        let asked = names.iter().any(|name| {
            is(name, &title.to_ascii_lowercase())
                || is(name, "all")
                || is(name, "everything")
                || usual && is(name, "default")
        });
        if asked || names.is_empty() && usual {
            if !lines.0.is_empty() {
                lines.0.push_str("\r\n");
            }
            let _ = write!(lines.0, "# {title}\r\n");
            section(cx, &mut lines);
        }
    }
    lines.0
}

fn server(cx: &mut Context<'_>, lines: &mut Lines) {
    let identity = &cx.state.identity;
    let uptime = cx.now.since(identity.started_at) / 1000;
    lines.put("redis_version", REDIS_VERSION);
    lines.put("emberlog_version", EMBERLOG_VERSION);
    lines.put("server_name", "emberlog");
    lines.put("redis_mode", "standalone");
    lines.put("os", std::env::consts::OS);
    lines.put("arch_bits", usize::BITS);
    lines.put("multiplexing_api", "epoll");
    lines.put("io_driver", identity.io_driver);
    lines.put("process_id", std::process::id());
    lines.put("run_id", &identity.run_id);
    lines.put("tcp_port", cx.state.config.port);
    lines.put("server_time_usec", cx.now.0 * 1000);
    lines.put("uptime_in_seconds", uptime);
    lines.put("uptime_in_days", uptime / 86_400);
    lines.put("hz", 1);
    lines.put("executable", &identity.executable);
    lines.put("config_file", &identity.config_file);
}

fn clients(cx: &mut Context<'_>, lines: &mut Lines) {
    lines.put("connected_clients", cx.clients.len());
    lines.put("maxclients", cx.state.config.maxclients);
    let waiting = cx.clients.others().filter(|c| c.wait != crate::serve::client::Wait::Nothing);
    lines.put("blocked_clients", waiting.count());
    let pubsub = cx.clients.others().filter(|client| client.session.subscriptions() > 0);
    lines.put("pubsub_clients", pubsub.count());
    lines.put("tracking_clients", 0);
}

fn memory(cx: &mut Context<'_>, lines: &mut Lines) {
    let human = |bytes: u64| {
        let mut scaled = bytes;
        let mut unit = "B";
        for larger in ["K", "M", "G"] {
            if scaled < 10 * 1024 {
                break;
            }
            scaled /= 1024;
            unit = larger;
        }
        format!("{scaled}{unit}")
    };
    let (rss, peak, budget) =
        (cx.state.rss_bytes, cx.state.rss_peak_bytes, cx.state.memory_budget());
    lines.put("used_memory", rss);
    lines.put("used_memory_human", human(rss));
    lines.put("used_memory_rss", rss);
    lines.put("used_memory_peak", peak);
    lines.put("used_memory_peak_human", human(peak));
    let scripts = cx.state.scripts.as_deref();
    lines.put("used_memory_lua", scripts.map_or(0, crate::script::Engine::memory_bytes));
    lines.put("number_of_cached_scripts", scripts.map_or(0, crate::script::Engine::len));
    lines.put("total_system_memory", cx.state.identity.machine_bytes);
    lines.put("maxmemory", budget);
    lines.put("maxmemory_human", human(budget));
    lines.put("maxmemory_policy", "noeviction");
    lines.put("mem_fragmentation_ratio", "1.00");
    let buffers: usize = cx
        .clients
        .others()
        .map(|client| client.connection.input.capacity() + client.connection.output.buffered())
        .sum();
    lines.put("mem_clients_normal", buffers);
}

fn persistence(cx: &mut Context<'_>, lines: &mut Lines) {
    lines.put("loading", u8::from(cx.state.stage == Stage::Loading));
    lines.put("rdb_changes_since_last_save", 0);
    lines.put("rdb_bgsave_in_progress", 0);
    lines.put("rdb_last_save_time", cx.state.saved_at.0 / 1000);
    lines.put("rdb_last_bgsave_status", "ok");
    lines.put("aof_enabled", 1);
    lines.put("aof_rewrite_in_progress", 0);
    let poisoned = cx.shard.as_deref().is_some_and(emberlog_engine::Shard::poisoned);
    lines.put("aof_last_write_status", if poisoned { "err" } else { "ok" });
}

fn stats(cx: &mut Context<'_>, lines: &mut Lines) {
    let expired = cx.shard.as_deref().map_or(0, |shard| shard.stats().expired_keys);
    let stats = &cx.state.stats;
    lines.put("total_connections_received", stats.connections);
    lines.put("total_commands_processed", stats.commands);
    lines.put("total_net_input_bytes", stats.input_bytes);
    lines.put("total_net_output_bytes", stats.output_bytes);
    lines.put("rejected_connections", stats.rejected_connections);
    lines.put("expired_keys", expired);
    lines.put("evicted_keys", 0);
    lines.put("keyspace_hits", stats.hits);
    lines.put("keyspace_misses", stats.misses);
    lines.put("pubsub_channels", cx.state.pubsub.channels().count());
    lines.put("pubsub_patterns", cx.state.pubsub.pattern_count());
    lines.put("total_error_replies", stats.errors);
    lines.put("acl_access_denied_auth", stats.auth_failures);
    lines.put("client_output_buffer_limit_disconnections", stats.output_limit_disconnections);
    lines.put("protocol_error_disconnections", stats.protocol_errors);
    lines.put("timeout_disconnections", stats.timeouts);
    lines.put("cold_commands", stats.cold_commands);
    lines.put("turn_us_max", stats.turn_us_max);
    lines.put("turn_longest", stats.turn_longest);
    lines.put("turns_over_5ms", stats.turns_over_5ms);
    lines.put("room_waits", stats.room_waits);
}

fn replication(cx: &mut Context<'_>, lines: &mut Lines) {
    lines.put("role", "master");
    lines.put("connected_slaves", 0);
    lines.put("master_replid", &cx.state.identity.run_id);
    let lsn = cx.shard.as_deref().map_or(0, |shard| shard.appended_lsn().0);
    lines.put("master_repl_offset", lsn);
}

fn cpu(_cx: &mut Context<'_>, lines: &mut Lines) {
    let (user, system) = crate::process::cpu_seconds();
    lines.put("used_cpu_sys", format_args!("{system:.6}"));
    lines.put("used_cpu_user", format_args!("{user:.6}"));
}

fn ember(cx: &mut Context<'_>, lines: &mut Lines) {
    let Some(shard) = cx.shard.as_deref() else { return };
    crate::ember::fields(&shard.stats(), |name, value| lines.put(name, value));
}

fn commandstats(cx: &mut Context<'_>, lines: &mut Lines) {
    let stats = &cx.state.stats.by_command;
    for (command, stats) in all().zip(stats).filter(|(_, s)| s.calls + s.rejected > 0) {
        let per_call = stats.usec.checked_div(stats.calls).unwrap_or(0);
        lines.put(
            &format!("cmdstat_{}", command.name),
            format_args!(
                "calls={},usec={},usec_per_call={per_call}.00,rejected_calls={},failed_calls={}",
                stats.calls, stats.usec, stats.rejected, stats.failed
            ),
        );
    }
}

fn errorstats(cx: &mut Context<'_>, lines: &mut Lines) {
    for (code, count) in &cx.state.stats.by_error {
        lines.put(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn keyspace(cx: &mut Context<'_>, lines: &mut Lines) {
    let Some(shard) = cx.shard.as_deref() else { return };
    for db in 0..cx.state.config.databases {
        let keys = shard.len(Namespace(db));
        if keys > 0 {
            let expires = shard.expiring_len(Namespace(db));
            lines.put(&format!("db{db}"), format_args!("keys={keys},expires={expires},avg_ttl=0"));
        }
    }
}
