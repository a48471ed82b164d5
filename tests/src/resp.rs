//! A blocking RESP2 client small enough to be believed at sight.
//!
//! Owns: encoding of commands, decoding of replies. Must never know: what a reply means.
//! Invariant: replies come back in the order in which commands were queued.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest reply a test expects, in bytes. A server that announces more is broken or lying.
const BULK_BYTES_MAX: usize = 64 << 20;

/// One reply as it came over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR ...`, without the dash.
    Error(String),
    /// `:1`
    Int(i64),
    /// `$n`
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` or `_`
    Nil,
    /// `*n`
    Array(Vec<Reply>),
}

impl Reply {
    /// True for `+OK`.
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Simple(text) if text == "OK")
    }

    /// The error text, if this is an error.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Error(text) => Some(text),
            _ => None,
        }
    }
}

/// Appends one command as an array of bulk strings.
pub fn encode(out: &mut Vec<u8>, args: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads one reply.
///
/// # Errors
/// `UnexpectedEof` when the peer closed, `InvalidData` when the bytes are not RESP2.
pub fn read_reply(input: &mut impl BufRead) -> io::Result<Reply> {
    let line = read_line(input)?;
    let (tag, rest) = line.split_at_checked(1).ok_or_else(|| bad("empty line"))?;
    match tag {
        "+" => Ok(Reply::Simple(rest.to_owned())),
        "-" => Ok(Reply::Error(rest.to_owned())),
        ":" => Ok(Reply::Int(number(rest)?)),
        "_" => Ok(Reply::Nil),
        "$" => read_bulk(input, number(rest)?),
        "*" => {
            let count = number(rest)?;
            if count < 0 {
                return Ok(Reply::Nil);
            }
            (0..count).map(|_| read_reply(input)).collect::<io::Result<_>>().map(Reply::Array)
        }
        other => Err(bad(&format!("unknown reply type {other:?}"))),
    }
}

fn read_bulk(input: &mut impl BufRead, length: i64) -> io::Result<Reply> {
    if length < 0 {
        return Ok(Reply::Nil);
    }
    let length = usize::try_from(length).map_err(|_| bad("bulk length"))?;
    if length > BULK_BYTES_MAX {
        return Err(bad("bulk longer than any test asks for"));
    }
    let mut bytes = vec![0; length + 2];
    input.read_exact(&mut bytes)?;
    if !bytes.ends_with(b"\r\n") {
        return Err(bad("bulk without its line end"));
    }
    bytes.truncate(length);
    Ok(Reply::Bulk(bytes))
}

fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    let read = input.take(64 << 10).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the server closed the connection"));
    }
    if !line.ends_with(b"\r\n") {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "reply cut off"));
    }
    line.truncate(line.len() - 2);
    String::from_utf8(line).map_err(|_| bad("reply line is not UTF-8"))
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| bad(&format!("not a number: {text:?}")))
}

fn bad(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why.to_owned())
}

/// One connection. Commands are queued, sent by [`Client::flush`], and answered in order.
pub struct Client {
    input: BufReader<TcpStream>,
    output: Vec<u8>,
}

impl Client {
    /// Connects, with `timeout` as the limit of every later read and write too.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { input: BufReader::with_capacity(64 << 10, stream), output: Vec::new() })
    }

    /// Queues a command without sending it.
    pub fn queue(&mut self, args: &[&[u8]]) {
        encode(&mut self.output, args);
    }

    /// Bytes that are queued and not yet sent.
    pub fn queued_bytes(&self) -> usize {
        self.output.len()
    }

    /// Sends everything that is queued.
    ///
    /// # Errors
    /// Whatever the socket says; how much was sent is then unknown.
    pub fn flush(&mut self) -> io::Result<()> {
        let sent = self.input.get_mut().write_all(&self.output);
        self.output.clear();
        sent
    }

    /// Waits for the next reply.
    ///
    /// # Errors
    /// As [`read_reply`].
    pub fn reply(&mut self) -> io::Result<Reply> {
        read_reply(&mut self.input)
    }

    /// Sends one command and waits for its reply.
    ///
    /// # Errors
    /// As [`Client::flush`] and [`Client::reply`].
    pub fn call(&mut self, args: &[&[u8]]) -> io::Result<Reply> {
        self.queue(args);
        self.flush()?;
        self.reply()
    }

    /// [`Client::call`] with the words of `line` as arguments.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn words(&mut self, line: &str) -> io::Result<Reply> {
        let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
        self.call(&args)
    }

    /// Sends commands, as [`Client::words`] reads them, 200 at a time; returns their replies.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn lines(&mut self, lines: &[String]) -> io::Result<Vec<Reply>> {
        let mut replies = Vec::with_capacity(lines.len());
        for window in lines.chunks(200) {
            for line in window {
                let args: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
                self.queue(&args);
            }
            self.flush()?;
            for _ in window {
                replies.push(self.reply()?);
            }
        }
        Ok(replies)
    }

    /// The socket, for tests that send what no client would.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.input.get_mut()
    }

    /// One numeric field of `INFO`, or `None` when the server does not report it.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn info(&mut self, field: &str) -> io::Result<Option<u64>> {
        let Reply::Bulk(text) = self.words("INFO all")? else {
            return Err(bad("INFO did not answer a bulk string"));
        };
        let text = String::from_utf8_lossy(&text);
        let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(found.and_then(|digits| digits.trim().parse().ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> io::Result<Reply> {
        read_reply(&mut BufReader::new(bytes))
    }

    #[test]
    fn every_reply_type_is_read() {
        assert_eq!(parse(b"+OK\r\n").unwrap(), Reply::Simple("OK".into()));
        assert_eq!(parse(b"-ERR no\r\n").unwrap(), Reply::Error("ERR no".into()));
        assert_eq!(parse(b":-7\r\n").unwrap(), Reply::Int(-7));
        assert_eq!(parse(b"$2\r\n\r\n\r\n").unwrap(), Reply::Bulk(b"\r\n".to_vec()));
        assert_eq!(parse(b"$-1\r\n").unwrap(), Reply::Nil);
        assert_eq!(parse(b"*1\r\n:1\r\n").unwrap(), Reply::Array(vec![Reply::Int(1)]));
    }

    #[test]
    fn a_cut_reply_is_an_end_of_file_not_a_value() {
        for cut in 0..b"*2\r\n$3\r\nabc\r\n:1\r\n".len() {
            let error = parse(&b"*2\r\n$3\r\nabc\r\n:1\r\n"[..cut]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "cut at {cut}");
        }
    }
}
