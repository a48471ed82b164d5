//! The economics of a store: what RAM, disk, time to live and restart cost, against their bars and,
//! where one is named, beside a peer in the same run.
//!
//! ```text
//! cargo run --release -p emberlog-benches -- economics [PART...] [--quick]
//! ```
//! Every part is a module with one function from [`Settings`] to a [`Section`]; its tables, bars and
//! plots replace the part's own region of benches/RESULTS.md, so that parts can be run one by one.

#![expect(clippy::cast_sign_loss, reason = "counts and times of benchmarks are positive")]

mod amplification;
mod checkpoint;
mod compression;
mod expiry;
mod hits;
mod index;
mod latency;
mod memory;
mod objects;
mod plot;
mod ramdisk;
mod report;
mod restart;
mod scan;
mod server;
mod sessions;
mod touch;
mod values;
mod views;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

pub(crate) use plot::{Plot, Series};
pub(crate) use report::{Bar, Section, Table};

/// One part of the run.
struct Part {
    name: &'static str,
    about: &'static str,
    run: fn(&Settings) -> Result<Section>,
}

/// All parts, in the order in which they are run: first those that measure time, which need a quiet
/// machine, then those that count (`compression` has both).
const PARTS: &[Part] = &[
    Part {
        name: "index",
        about: "RAM per entry and pauses of the index, alone and in the server",
        run: index::run,
    },
    Part {
        name: "memory",
        about: "resident memory under --maxmemory, whatever the server does",
        run: memory::run,
    },
    Part {
        name: "expiry",
        about: "lag of expired events among up to ten million volatile keys, beside the peer",
        run: expiry::run,
    },
    Part {
        name: "compaction",
        about: "latency while compacting, and how soon expired data gives its disk back",
        run: latency::run,
    },
    Part {
        name: "restart",
        about: "time to the first answer after kill -9, beside the peer",
        run: restart::run,
    },
    Part {
        name: "checkpoint",
        about: "how long others wait while the index is written to a checkpoint",
        run: checkpoint::run,
    },
    Part {
        name: "values",
        about: "streaming a value of 511 MiB, and reading or changing ten bytes of it, beside the peer",
        run: values::run,
    },
    Part { name: "scan", about: "what it costs to list keys that are not in RAM", run: scan::run },
    Part {
        name: "compression",
        about: "bytes won and CPU time spent by compression, on against off",
        run: compression::run,
    },
    Part {
        name: "hits",
        about: "hit ratio of the hot set at equal bytes, beside LRU and W-TinyLFU",
        run: hits::run,
    },
    Part {
        name: "amplification",
        about: "bytes written for each byte of a user's, when the disk is 85 % full",
        run: amplification::run,
    },
    Part {
        name: "touch",
        about: "device bytes of moving a session's expiry, beside the peer",
        run: touch::run,
    },
    Part {
        name: "sessions",
        about: "RAM of an idle session and bytes of a page view, beside the peer",
        run: objects::run,
    },
];

/// Measures the economics and fills in the results file.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Parts to run; all of them if none is named. `list` prints them.
    parts: Vec<String>,
    /// A smoke test: everything small and short; the results file is left alone.
    #[arg(long)]
    quick: bool,
    /// Emberlog's binary; built first, beside this one, if not given.
    #[arg(long)]
    emberlog: Option<PathBuf>,
    /// The peer's binary.
    #[arg(long, default_value = "redis-server")]
    peer: PathBuf,
    /// Folder for data, on the disk to measure; a folder of its own is made in it and removed again.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the report goes.
    #[arg(long, default_value = "benches/RESULTS.md")]
    output: PathBuf,
    /// First of the ten ports that servers listen on.
    #[arg(long, default_value_t = 7700)]
    port: u16,
}

/// What every part needs to know.
pub(crate) struct Settings {
    /// Small and short, to see that it works; its numbers say nothing.
    pub(crate) quick: bool,
    /// Emberlog's binary.
    pub(crate) emberlog: PathBuf,
    /// The peer's binary.
    pub(crate) peer: PathBuf,
    /// A folder for data, on a real disk.
    pub(crate) scratch: PathBuf,
    /// First of ten ports.
    pub(crate) port: u16,
}

impl Settings {
    /// `full`, or `quick` in a smoke test.
    pub(crate) fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A fresh folder for a server's data, removed when dropped.
    pub(crate) fn folder(&self) -> Result<tempfile::TempDir> {
        Ok(tempfile::Builder::new().prefix("data-").tempdir_in(&self.scratch)?)
    }
}

/// Runs the parts that are asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.parts.iter().any(|name| name == "list") {
        for part in PARTS {
            println!("{:14} {}", part.name, part.about);
        }
        return Ok(());
    }
    for name in &arguments.parts {
        if !PARTS.iter().any(|part| part.name == name) {
            bail!("no part is called '{name}'; `economics list` prints them");
        }
    }
    let own = std::env::current_exe()?;
    let emberlog = match &arguments.emberlog {
        Some(path) => path.clone(),
        None => build_server(&own)?,
    };
    let beside = own.parent().context("a binary lies in a folder")?;
    let dir = arguments.dir.clone().unwrap_or_else(|| beside.to_owned());
    let scratch = tempfile::Builder::new().prefix("economics-").tempdir_in(dir)?;
    let settings = Settings {
        quick: arguments.quick,
        emberlog,
        peer: arguments.peer.clone(),
        scratch: scratch.path().to_owned(),
        port: arguments.port,
    };
    let mut missed = Vec::new();
    for (number, part) in PARTS.iter().enumerate() {
        if !arguments.parts.is_empty() && !arguments.parts.iter().any(|name| name == part.name) {
            continue;
        }
        eprintln!("== {}: {}", part.name, part.about);
        let start = Instant::now();
        let section = (part.run)(&settings).with_context(|| format!("part {}", part.name))?;
        let seconds = start.elapsed().as_secs();
        println!("{}", section.text(part.name, seconds));
        missed.extend(section.bars.iter().filter(|bar| !bar.met).map(|bar| bar.what.clone()));
        if !arguments.quick {
            let before: Vec<_> = PARTS[..number].iter().map(|p| report::region(p.name)).collect();
            section.write(&arguments.output, part.name, &before, seconds)?;
        }
    }
    match missed.as_slice() {
        [] => println!("every bar of these parts is met"),
        missed => println!("missed: {}", missed.join("; ")),
    }
    Ok(())
}

/// Builds the server with the profile of this very binary, so that what is measured is the source
/// as it is; its path.
fn build_server(own: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "emberlog-server"]);
    if own.parent().is_some_and(|folder| folder.ends_with("release")) {
        command.arg("--release");
    }
    if !command.status().context("cargo, to build the server")?.success() {
        bail!("the server does not build; or name one by --emberlog");
    }
    Ok(own.with_file_name("emberlog"))
}
