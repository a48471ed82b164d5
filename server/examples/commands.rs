//! Prints the command reference: `cargo run -p emberlog-server --example commands > docs/COMMANDS.md`

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(emberlog_server::command::reference().as_bytes())
}
