//! One server under measurement: started on core 0 with the settings of its row, and its CPU time.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// What an acknowledgement promises: rows compare equal promises only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Promise {
    /// On stable storage.
    EveryWrite,
    /// On stable storage within about a second.
    EverySecond,
    /// Nothing.
    Nothing,
}

impl Promise {
    /// Name of the row.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Promise::EveryWrite => "every write durable",
            Promise::EverySecond => "durable within a second",
            Promise::Nothing => "memory",
        }
    }

    fn settings(self, ours: bool) -> &'static [&'static str] {
        match (self, ours) {
            (Promise::EveryWrite, true) => &["--ack", "durable"],
            (Promise::EveryWrite, false) => &["--appendonly", "yes", "--appendfsync", "always"],
            (Promise::EverySecond, true) => &["--ack", "interval:1000"],
            (Promise::EverySecond, false) => &["--appendonly", "yes", "--appendfsync", "everysec"],
            (Promise::Nothing, true) => &["--ack", "memory"],
            (Promise::Nothing, false) => &["--appendonly", "no"],
        }
    }
}

/// CPU time of a process, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
}

impl Cpu {
    /// What was spent since an earlier reading.
    pub(crate) fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            user_us: self.user_us - earlier.user_us,
            system_us: self.system_us - earlier.system_us,
        }
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) settings: String,
    pub(crate) port: u16,
    child: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts `binary` on core 0 with a fresh data folder in the current one, so that the data is on a
    /// real disk, and waits until it answers.
    pub(crate) fn start(binary: &str, ours: bool, promise: Promise) -> Result<Server> {
        let folder = tempfile::Builder::new().prefix("peers-").tempdir_in("target")?;
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let mut settings: Vec<&str> = promise.settings(ours).to_vec();
        if ours {
            settings.extend(["--maxmemory", "1gb", "--disk-limit", "4gb"]);
        } else {
            settings.extend(["--save", "", "--protected-mode", "no"]);
        }
        let mut command = Command::new("taskset");
        command.args(["-c", "0", binary, "--port", &port.to_string(), "--dir"]);
        command.arg(if ours { folder.path().join("data") } else { folder.path().to_owned() });
        command.args(&settings).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("taskset")?;
        let name = Path::new(binary).file_name().map_or("server".into(), |n| n.to_string_lossy());
        let settings = settings.iter().filter(|s| !s.is_empty()).copied().collect::<Vec<_>>();
        let server = Server {
            name: name.into_owned(),
            settings: settings.join(" "),
            port,
            child,
            _folder: folder,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn wait_until_ready(&self) -> Result<()> {
        use std::io::{Read, Write};
        for _ in 0..200 {
            if let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) {
                stream.set_read_timeout(Some(Duration::from_secs(1)))?;
                let mut reply = [0; 5];
                let answered =
                    stream.write_all(b"PING\r\n").and_then(|()| stream.read_exact(&mut reply));
                if answered.is_ok() && &reply == b"+PONG" {
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("{} does not answer", self.name)
    }

    /// CPU time so far, all threads together.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        // Linux reports in ticks of 10 ms.
        const TICK_US: u64 = 10_000;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, fields) = stat.rsplit_once(')').context("a process's name ends in )")?;
        let ticks = |at: usize| -> Result<u64> {
            Ok(fields.split_whitespace().nth(at).context("a field of stat")?.parse()?)
        };
        Ok(Cpu { user_us: ticks(11)? * TICK_US, system_us: ticks(12)? * TICK_US })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Best effort: the folder goes in any case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Pins this process to one core.
pub(crate) fn pin_to_core(core: usize) -> Result<()> {
    let pid = std::process::id().to_string();
    let status = Command::new("taskset")
        .args(["-p", "-c", &core.to_string(), &pid])
        .stdout(Stdio::null())
        .status()
        .context("taskset (util-linux) is needed to keep server and load apart")?;
    if !status.success() {
        bail!("cannot pin the load to core {core}");
    }
    Ok(())
}
