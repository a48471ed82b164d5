//! The `emberlog` server: arguments, then configuration, then the event loop.

use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use emberlog_engine::driver;
use emberlog_server::args::{self, ArgumentError, Arguments};
use emberlog_server::config::format_bytes;
use emberlog_server::net::{EventLoop, Listeners};
use emberlog_server::serve::Server;
use emberlog_server::serve::state::{Identity, State};
use emberlog_server::{EMBERLOG_VERSION, log, process};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Gives memory back to the operating system soon, also from between what is still in use.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = match args::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(ArgumentError::Usage(error)) => error.exit(),
        Err(error) => return fail(&error.to_string()),
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            fail(&error)
        }
    }
}

#[expect(clippy::print_stderr, reason = "the operator may not see the log yet")]
fn fail(error: &str) -> ExitCode {
    eprintln!("emberlog: {error}");
    ExitCode::FAILURE
}

fn run(arguments: Arguments) -> Result<(), String> {
    let Arguments { mut config, file } = arguments;
    log::start(config.loglevel, &config.logfile)
        .map_err(|error| format!("cannot write to the log file {}: {error}", config.logfile))?;
    let signals = catch_signals().map_err(|error| format!("cannot catch signals: {error}"))?;
    let allowed = process::allow_clients(config.maxclients);
    if allowed < config.maxclients {
        tracing::warn!("maxclients is {allowed}: the limit of open files allows no more");
        config.maxclients = allowed;
    }
    let listeners = Listeners::bind(&config).map_err(|error| error.to_string())?;
    let now = driver::now();
    let random = process::random_bytes::<28>().map_err(|error| error.to_string())?;
    let (run_id, seed) = random.split_at(20);
    let identity = Identity {
        run_id: process::hex(run_id),
        started_at: now,
        executable: std::env::current_exe()
            .map(|path| path.display().to_string())
            .unwrap_or_default(),
        config_file: file.map(|path| path.display().to_string()).unwrap_or_default(),
        io_driver: "",
        machine_bytes: process::machine_bytes(),
    };
    let seed = seed.iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let state = State::new(config, identity, seed);
    tracing::info!(
        "emberlog {EMBERLOG_VERSION}, process {}, listening on {}",
        std::process::id(),
        listeners.addresses()
    );
    if state.config.maxmemory == 0 {
        let budget = format_bytes(state.memory_budget() >> 20 << 20);
        tracing::info!("maxmemory is not set: up to {budget} of RAM (a quarter of the machine's)");
    }
    let server = Server::new(state, driver::monotonic_us, now);
    let event_loop = EventLoop::new(server, listeners, signals, log::set_level)
        .map_err(|error| format!("cannot start: {error}"))?;
    event_loop.run()
}

/// The first SIGTERM or SIGINT becomes a byte in the stream; the second ends the process at once.
fn catch_signals() -> std::io::Result<UnixStream> {
    let (reader, writer) = UnixStream::pair()?;
    writer.set_nonblocking(true)?;
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&asked))?;
        signal_hook::flag::register(signal, Arc::clone(&asked))?;
        signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
    }
    Ok(reader)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use emberlog_engine::driver::ResidentSet;

    #[test]
    fn what_is_freed_below_something_that_stays_goes_back_to_the_system() {
        let resident = ResidentSet::open();
        let mut blocks: Vec<Box<[u8]>> =
            (0..200_000).map(|number| vec![1; 300 + number % 200].into()).collect();
        let stays = blocks.pop();
        let full = resident.bytes();
        drop(blocks);
        let gone = |_| {
            // Freed pages go back after a while, and only while something is allocated and freed.
            for number in 0..10_000 {
                std::hint::black_box(vec![1u8; 1 + number * 7]);
            }
            std::thread::sleep(Duration::from_millis(10));
            resident.bytes() + (70 << 20) < full
        };
        assert!((0..100).any(gone), "{full} bytes, then {}", resident.bytes());
        drop(stays);
    }
}
