//! The report: a table for people, a CSV for programs, a picture.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;

use super::load::{Outcome, VALUE_BYTES};
use super::side::{Cpu, Promise, Server};

/// One measurement.
pub(crate) struct Row {
    server: String,
    settings: String,
    promise: Promise,
    pipeline: usize,
    per_second: f64,
    latency_us: [u64; 3],
    /// Microseconds of CPU time per operation.
    user_us: f64,
    system_us: f64,
}

impl Row {
    /// Puts a measurement together.
    #[expect(clippy::cast_precision_loss, reason = "ratios for people")]
    pub(crate) fn new(
        server: &Server,
        promise: Promise,
        pipeline: usize,
        run: &Outcome,
        cpu: Cpu,
    ) -> Row {
        let operations = run.operations.max(1) as f64;
        Row {
            server: server.name.clone(),
            settings: server.settings.clone(),
            promise,
            pipeline,
            per_second: run.per_second(),
            latency_us: [0.5, 0.99, 0.999].map(|q| run.latency_us.value_at_quantile(q)),
            user_us: cpu.user_us as f64 / operations,
            system_us: cpu.system_us as f64 / operations,
        }
    }

    fn total_us(&self) -> f64 {
        self.user_us + self.system_us
    }
}

/// The run in the middle by CPU time per operation.
pub(crate) fn median(mut runs: Vec<Row>) -> Row {
    runs.sort_by(|a, b| a.total_us().total_cmp(&b.total_us()));
    runs.swap_remove(runs.len() / 2)
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(program).args(arguments).output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    text.ok().filter(|t| !t.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

/// Writes the table to its region of `path`, and beside it `peers.csv` and `peers.svg`.
pub(crate) fn write(
    path: &str,
    rows: &[Row],
    cores: usize,
    (connections, keys): (usize, u64),
) -> Result<()> {
    let mut text = String::from("## Beside a peer\n\n");
    let cpu = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("unknown");
    writeln!(
        text,
        "`cargo run --release -p emberlog-benches -- peers`\n\n\
         Machine: {cores} cores,{}, {}. Commit {}. {connections} connections, {keys} keys, values of \
         {VALUE_BYTES} bytes, all different, 90 % GET, server on core 0, load on core 1. CPU time per \
         operation is the process's, from /proc; medians of alternating rounds.\n",
        model.trim_start_matches([' ', '\t', ':']),
        output_of("uname", &["-sr"]),
        output_of("git", &["rev-parse", "--short", "HEAD"]),
    )?;
    text.push_str("| promise | P | server | op/s | p50 us | p99 us | p99.9 us | user us/op | system us/op | total us/op |\n|---|--:|---|--:|--:|--:|--:|--:|--:|--:|\n");
    let mut csv = String::from(
        "promise,pipeline,server,settings,per_second,p50_us,p99_us,p999_us,user_us,system_us\n",
    );
    for row in rows {
        let [p50, p99, p999] = row.latency_us;
        let (promise, total) = (row.promise.name(), row.total_us());
        let Row { server, settings, pipeline, per_second, user_us, system_us, .. } = row;
        writeln!(
            text,
            "| {promise} | {pipeline} | {server} `{settings}` | {per_second:.0} | {p50} | {p99} | {p999} \
             | {user_us:.2} | {system_us:.2} | {total:.2} |"
        )?;
        writeln!(
            csv,
            "{promise},{pipeline},{server},{settings},{per_second:.0},{p50},{p99},{p999},{user_us:.3},{system_us:.3}"
        )?;
    }
    text.push_str("\nEmberlog over the peer:\n\n| promise | P | op/s | p99 | user/op | total/op |\n|---|--:|--:|--:|--:|--:|\n");
    for pair in rows.chunks_exact(2) {
        let (ours, peer) = (&pair[0], &pair[1]);
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let p99 = ours.latency_us[1] as f64 / peer.latency_us[1].max(1) as f64;
        writeln!(
            text,
            "| {} | {} | {:.2}x | {p99:.2}x | {:.2}x | {:.2}x |",
            ours.promise.name(),
            ours.pipeline,
            ours.per_second / peer.per_second,
            ours.user_us / peer.user_us.max(0.001),
            ours.total_us() / peer.total_us().max(0.001),
        )?;
    }
    text.push_str("\n![CPU time per operation](peers.svg)\n");
    let folder = Path::new(path).parent().unwrap_or(Path::new("."));
    crate::region::replace(Path::new(path), "peers", &[], &text)?;
    std::fs::write(folder.join("peers.csv"), csv)?;
    std::fs::write(folder.join("peers.svg"), picture(rows)?)?;
    println!("{text}");
    Ok(())
}

/// Bars of CPU time per operation: user dark, system light.
fn picture(rows: &[Row]) -> Result<String> {
    const BAR: usize = 22;
    let height = rows.len() * BAR + 50;
    let longest = rows.iter().map(Row::total_us).fold(0.1, f64::max);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='760' height='{height}' font-family='sans-serif' \
         font-size='12'><rect width='760' height='{height}' fill='white'/><text x='10' y='20' \
         font-size='14'>CPU time per operation in microseconds: user (dark) and system (light)</text>"
    );
    for (number, row) in rows.iter().enumerate() {
        let y = 36 + number * BAR;
        let scale = 380.0 / longest;
        let (user, system) = (row.user_us * scale, row.system_us * scale);
        let (dark, light) =
            if number % 2 == 0 { ("#b5451b", "#f0b08f") } else { ("#3b5b7a", "#a9c0d6") };
        write!(
            svg,
            "<text x='10' y='{}'>{} P={} {}</text>\
             <rect x='300' y='{y}' width='{user:.1}' height='16' fill='{dark}'/>\
             <rect x='{:.1}' y='{y}' width='{system:.1}' height='16' fill='{light}'/>\
             <text x='{:.1}' y='{}'>{:.2} + {:.2}</text>",
            y + 13,
            row.promise.name(),
            row.pipeline,
            row.server,
            300.0 + user,
            306.0 + user + system,
            y + 13,
            row.user_us,
            row.system_us,
        )?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}
