//! Listening sockets.
//!
//! Owns: binding, accepting, the unix socket's file.
//! Never knows: clients.
//! Invariant: the unix socket never exists with wider permissions than asked for, not even between
//! bind and chmod (CVE-2023-45145): the process's mask is narrowed first.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use rustix::fs::Mode;
use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::LISTENERS_MAX;
use super::socket::{Socket, Stream};
use crate::config::Config;

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// All listeners.
pub struct Listeners {
    open: Vec<Listener>,
    unix_path: Option<PathBuf>,
    /// What is listened on, for the log.
    addresses: Vec<String>,
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    address: String,
    source: io::Error,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot listen on {}: {}", self.address, self.source)?;
        if self.source.kind() == io::ErrorKind::AddrInUse {
            f.write_str("; stop the other server, or choose another port")?;
        }
        Ok(())
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl Listeners {
    /// Listens on everything that `config` names.
    ///
    /// # Errors
    /// An address that is not marked as optional cannot be had.
    pub fn bind(config: &Config) -> Result<Listeners, BindError> {
        let mut all = Listeners { open: Vec::new(), unix_path: None, addresses: Vec::new() };
        if config.port > 0 {
            for name in &config.bind {
                all.bind_tcp(name, config)?;
            }
        }
        if let Some(path) = &config.unixsocket {
            let fail = |source| BindError { address: path.display().to_string(), source };
            let listener = bind_unix(path, config.unixsocketperm).map_err(fail)?;
            all.open.push(Listener::Unix(listener));
            all.addresses.push(path.display().to_string());
            all.unix_path = Some(path.clone());
        }
        if all.open.is_empty() {
            let source = io::Error::from(io::ErrorKind::AddrNotAvailable);
            return Err(BindError { address: config.bind.join(" "), source });
        }
        Ok(all)
    }

    fn bind_tcp(&mut self, name: &str, config: &Config) -> Result<(), BindError> {
        let (optional, host) = match name.strip_prefix('-') {
            Some(host) => (true, host),
            None => (false, name),
        };
        let host = match host {
            "*" => "0.0.0.0",
            "::*" => "::",
            host => host,
        };
        let fail = |source| BindError { address: format!("{host}:{}", config.port), source };
        for address in (host, config.port).to_socket_addrs().map_err(fail)? {
            // One place is kept for the unix socket.
            if self.open.len() + 1 >= LISTENERS_MAX {
                return Err(fail(io::Error::other("too many addresses")));
            }
            match bind_tcp(address, config.tcp_backlog) {
                Ok(listener) => {
                    self.open.push(Listener::Tcp(listener));
                    self.addresses.push(address.to_string());
                }
                Err(error) if optional && error.kind() != io::ErrorKind::AddrInUse => {
                    tracing::debug!(%address, %error, "this address is not available");
                }
                Err(error) => return Err(fail(error)),
            }
        }
        Ok(())
    }

    /// What is listened on, for the log.
    pub fn addresses(&self) -> String {
        self.addresses.join(" ")
    }

    /// Path of the unix socket, empty if there is none.
    pub(super) fn unix_path(&self) -> String {
        self.unix_path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }

    /// Registers all listeners; token n is listener n.
    pub(super) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for (number, listener) in self.open.iter_mut().enumerate() {
            let token = Token(number);
            match listener {
                Listener::Tcp(tcp) => registry.register(tcp, token, Interest::READABLE)?,
                Listener::Unix(unix) => registry.register(unix, token, Interest::READABLE)?,
            }
        }
        Ok(())
    }

    /// Number of listeners.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Accepts one connection of listener `number`; `None` when none waits.
    pub(super) fn accept(&self, number: usize) -> io::Result<Option<Socket>> {
        let stream = match self.open.get(number) {
            Some(Listener::Tcp(listener)) => listener.accept().map(|(s, _)| Stream::Tcp(s)),
            Some(Listener::Unix(listener)) => listener.accept().map(|(s, _)| Stream::Unix(s)),
            None => return Ok(None),
        };
        match stream {
            Ok(stream) => Ok(Some(Socket::new(stream))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stops listening and removes the unix socket's file.
    pub(super) fn close(&mut self) {
        self.open.clear();
        if let Some(path) = self.unix_path.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind_tcp(address: SocketAddr, backlog: u16) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // The IPv4 side has a socket of its own.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::from(backlog))?;
    Ok(TcpListener::from_std(socket.into()))
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let before = rustix::process::umask(Mode::from_raw_mode(0o777 & !mode));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

/// Removes the file of a socket that nobody listens on any more; never anything else.
fn remove_stale(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::other("the file exists and is not a socket"));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    std::fs::remove_file(path)
}
