//! Servers as processes: which command, where, ready when, ended how.
//!
//! Owns: the child process and its log file. Must never know: what a test does with the server.
//! Invariant: no server outlives its handle, whatever happens to the test.

use crate::resp::{Client, Reply};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long a client of the harness waits for any one reply.
pub const REPLY_LIMIT: Duration = Duration::from_secs(30);
/// How long a server may take until it answers PING, recovery included.
pub const READY_LIMIT: Duration = Duration::from_secs(120);

/// Flags that only Emberlog has, or means otherwise (Redis counts its clients' buffers as data); they are left out
/// when the tests run against another server.
const OWN_FLAGS: [&str; 4] = ["--ack", "--disk-limit", "--segment-size", "--maxmemory"];

/// The command that starts a server, without port and data folder.
#[derive(Clone, Debug)]
pub struct ServerCommand {
    line: String,
}

impl ServerCommand {
    /// A command line as a shell reads it.
    pub fn new(line: impl Into<String>) -> Self {
        Self { line: line.into() }
    }

    /// The server under test: the command in `EMBERLOG_SERVER`, else the binary that `EMBERLOG_BIN` names, else
    /// the one that this workspace builds.
    ///
    /// # Errors
    /// When the build fails.
    pub fn under_test() -> Result<Self> {
        if let Ok(line) = std::env::var("EMBERLOG_SERVER") {
            return Ok(Self::new(line));
        }
        let path = match std::env::var_os("EMBERLOG_BIN") {
            Some(path) => PathBuf::from(path),
            None => built_binary()?,
        };
        Ok(Self::new(format!("'{}'", path.display())))
    }

    /// The same command with more flags, given as name and value in turn.
    #[must_use]
    pub fn with(&self, flags: &[&str]) -> Self {
        let mut line = self.line.clone();
        for pair in flags.chunks(2) {
            if self.is_emberlog() || !OWN_FLAGS.contains(&pair[0]) {
                line.extend(pair.iter().flat_map(|word| [" '", word, "'"]));
            }
        }
        Self { line }
    }

    /// False for a Redis or a Valkey, on which the harness is tried.
    pub fn is_emberlog(&self) -> bool {
        !["redis-server", "valkey-server"].iter().any(|peer| self.line.contains(peer))
    }

    /// The command line.
    pub fn line(&self) -> &str {
        &self.line
    }
}

/// Builds the server once per test process, in the profile of the tests themselves.
fn built_binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build_binary().map_err(|error| format!("{error:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

fn build_binary() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this
        .ancestors()
        .skip(1)
        .find(|folder| !folder.ends_with("deps"))
        .context("the test binary has no folder")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "emberlog-server"]);
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().context("cannot run cargo; set EMBERLOG_BIN instead")?;
    if !status.success() {
        bail!("building the server failed");
    }
    Ok(folder.join("emberlog"))
}

/// A port of the loopback interface that was free a moment ago. It is none that the system hands out
/// by itself, for another's connection might be given it before the server listens.
///
/// # Errors
/// When no port is free.
pub fn free_port() -> Result<u16> {
    /// Below the range of ports that Linux gives to connections.
    const PORTS: std::ops::Range<u16> = 15_000..32_000;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| fastrand::u16(PORTS)).take(1000);
    ports.find(is_free).context("no port is free")
}

/// A running server.
pub struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    /// Starts `command` on a folder and waits until it answers.
    ///
    /// # Errors
    /// With the end of its log, when it ends or stays silent for [`READY_LIMIT`].
    pub fn start(command: &ServerCommand, folder: &Path) -> Result<Self> {
        let mut server = Self::spawn(command, folder, free_port()?)?;
        server.wait_ready()?;
        Ok(server)
    }

    /// Starts `command` without waiting. Its output is appended to `FOLDER.log`.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn spawn(command: &ServerCommand, folder: &Path, port: u16) -> Result<Self> {
        Self::spawn_logging(command, folder, port, &folder.with_extension("log"))
    }

    /// [`Server::spawn`] with another log file, for folders that nothing can be put beside.
    ///
    /// # Errors
    /// As [`Server::spawn`].
    pub fn spawn_logging(
        command: &ServerCommand,
        folder: &Path,
        port: u16,
        log: &Path,
    ) -> Result<Self> {
        if !command.is_emberlog() {
            fs::create_dir_all(folder)?;
        }
        let output = File::options().create(true).append(true).open(log)?;
        let line = format!("exec {} --port {port} --dir '{}'", command.line, folder.display());
        let child = Command::new("sh")
            .args(["-c", &line])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {line}"))?;
        Ok(Self {
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            log: log.to_owned(),
        })
    }

    /// Waits until the server answers PING with PONG; `-LOADING` and refused connections are waited out, and so is
    /// `-NOAUTH`, which only a server that is up can say.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn wait_ready(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status} before it was ready\n{}", self.log_tail());
            }
            let asked = Client::connect(self.address, REPLY_LIMIT)
                .and_then(|mut client| client.words("PING"));
            match asked {
                Ok(Reply::Simple(_)) => return Ok(()),
                Ok(Reply::Error(text)) if text.starts_with("NOAUTH") => return Ok(()),
                Ok(Reply::Error(text)) if !text.starts_with("LOADING") => {
                    bail!("PING was answered with -{text}")
                }
                _ => {}
            }
            if begin.elapsed() > READY_LIMIT {
                bail!("no answer to PING after {READY_LIMIT:?}\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::connect(self.address, REPLY_LIMIT)?)
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True until the process has ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Errors
    /// When the process does not end within 60 s.
    pub fn terminate(mut self) -> Result<ExitStatus> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.wait_end(Duration::from_secs(60))
    }

    /// Waits for a server that is expected to end by itself.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("the server still runs after {limit:?}\n{}", self.log_tail())
    }

    /// Everything that the server has logged, over all starts on this folder.
    pub fn log_text(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of [`Server::log_text`].
    pub fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is fine, and a test that failed has told why.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
