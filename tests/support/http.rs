//! The plainest HTTP client there is: one request a connection, unless told otherwise.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

pub(crate) fn get(addr: SocketAddr, path: &str) -> Reply {
    let request = format!("GET {path} HTTP/1.1\r\nHost: sigma\r\nConnection: close\r\n\r\n");
    exchange(addr, request.as_bytes()).expect("an answer")
}

pub(crate) fn post(addr: SocketAddr, path: &str, body: &[u8]) -> Reply {
    exchange(addr, &post_request(path, body, "close")).expect("an answer")
}

pub(crate) fn post_request(path: &str, body: &[u8], connection: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: sigma\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\nConnection: {connection}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Sends bytes and reads to the end; an error when there is no whole answer.
pub(crate) fn exchange(addr: SocketAddr, request: &[u8]) -> io::Result<Reply> {
    let mut stream = connect(addr)?;
    // Whoever is refused for the size of his body may be cut off while he still sends.
    let _ = stream.write_all(request);
    read(&mut stream)
}

pub(crate) fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    Ok(stream)
}

/// Reads one answer with a `Content-Length`.
pub(crate) fn read(stream: &mut TcpStream) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        if let Some(reply) = parse(&bytes) {
            return Ok(reply);
        }
        match stream.read(&mut chunk) {
            Ok(0) => {
                let why = format!("closed after {} bytes", bytes.len());
                return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
            }
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            // Whoever waits with a timeout is told so when the machine was halted meanwhile: signal(7).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = body.get(..length.parse().ok()?)?.to_owned();
    Some(Reply { status, head, body })
}
