//! kube-scheduler's side of the wire: one keep-alive connection, one request at a time, headers as
//! Go's HTTP client writes them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest head of an answer.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Longest body of an answer; 100,000 names with texts are a tenth of it.
const MAX_BODY_BYTES: usize = 64 << 20;
/// Wait for an answer. Long, so that a slow machine is slow and not wrong.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A connection to the extender.
pub(in crate::cli) struct Client {
    stream: TcpStream,
    addr: SocketAddr,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Client {
    pub(in crate::cli) fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { stream, addr, request: Vec::new(), answer: Vec::new() })
    }

    /// Posts a body and gives the body of the answer; any status but 200 is an error, as it is to
    /// kube-scheduler.
    pub(in crate::cli) fn post(&mut self, path: &str, body: &str) -> io::Result<&[u8]> {
        self.request.clear();
        write!(
            self.request,
            "POST {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Go-http-client/1.1\r\n\
             Content-Length: {}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n",
            self.addr,
            body.len(),
        )?;
        self.request.extend_from_slice(body.as_bytes());
        self.stream.write_all(&self.request)?;
        let (head_end, length) = self.read_head()?;
        if length > MAX_BODY_BYTES {
            return Err(malformed("the answer is too long"));
        }
        let whole = head_end + length;
        let so_far = self.answer.len();
        if so_far < whole {
            self.answer.resize(whole, 0);
            self.stream.read_exact(&mut self.answer[so_far..])?;
        }
        Ok(&self.answer[head_end..whole])
    }

    /// Reads up to the end of the head; gives where the body starts and how long it is.
    fn read_head(&mut self) -> io::Result<(usize, usize)> {
        self.answer.clear();
        let mut chunk = [0; 16 << 10];
        loop {
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.answer.extend_from_slice(&chunk[..count]);
            if let Some(at) = memchr::memmem::find(&self.answer, b"\r\n\r\n") {
                return Ok((at + 4, body_length(&self.answer[..at])?));
            }
            if self.answer.len() > MAX_HEAD_BYTES {
                return Err(malformed("the answer's head is too long"));
            }
        }
    }
}

/// The body's length, from the head of a 200.
fn body_length(head: &[u8]) -> io::Result<usize> {
    let head = std::str::from_utf8(head).map_err(|_| malformed("the answer's head is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or("");
    if !status.starts_with("HTTP/1.1 200") {
        return Err(malformed(&format!("the extender answered {status:?}")));
    }
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("content-encoding") {
            return Err(malformed("the answer is encoded"));
        }
    }
    length.ok_or_else(|| malformed("the answer does not tell its length"))
}

fn malformed(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one request with these bytes, one write per part, then closes.
    fn against(parts: &'static [&'static str]) -> io::Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let server = std::thread::spawn(move || -> io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            let mut request = [0; 1024];
            let count = stream.read(&mut request)?;
            assert!(request[..count].starts_with(b"POST /filter HTTP/1.1\r\nHost: 127.0.0.1:"));
            assert!(request[..count].ends_with(b"\r\n\r\nbody"));
            parts.iter().try_for_each(|part| stream.write_all(part.as_bytes()))
        });
        let answer = Client::connect(addr)?.post("/filter", "body").map(<[u8]>::to_vec);
        server.join().expect("the server does not panic")?;
        answer
    }

    #[test]
    fn a_body_is_read_whole_however_it_arrives() {
        let parts = ["HTTP/1.1 200 OK\r\ncontent-", "length: 7\r\n\r", "\nabc", "defg"].as_slice();
        assert_eq!(against(parts).expect("it is an answer"), b"abcdefg");
        let empty = ["HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"].as_slice();
        assert_eq!(against(empty).expect("it is an answer"), b"");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let cases: [&'static [&'static str]; 5] = [
            &[],
            &["HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"],
            &["HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"],
        ];
        for parts in cases {
            assert!(against(parts).is_err(), "{parts:?}");
        }
    }
}
