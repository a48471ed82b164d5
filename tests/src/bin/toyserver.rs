//! `toyserver`: the toy server as a process, for the tests of the kill loop's checker.

use anyhow::Result;
use clap::Parser;
use emberlog_tests::toy::{self, Lie};
use std::path::PathBuf;

/// A journaling key-value server that lies on request.
#[derive(Parser)]
struct Args {
    /// Port on the loopback interface.
    #[arg(long)]
    port: u16,
    /// Data folder.
    #[arg(long)]
    dir: PathBuf,
    /// What to do wrong.
    #[arg(long, value_enum, default_value_t = Lie::None)]
    lie: Lie,
}

fn main() -> Result<()> {
    let args = Args::parse();
    toy::serve(args.port, &args.dir, args.lie)
}
