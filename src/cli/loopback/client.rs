//! kube-scheduler's side of the wire: one keep-alive connection, one request at a time, headers as
//! Go's HTTP client writes them.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

/// Longest head of an answer.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// Longest body of an answer; 100,000 names with texts are a tenth of it.
const MAX_BODY_BYTES: usize = 64 << 20;
/// Wait for an answer. Long, so that a slow machine is slow and not wrong.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Room that every read has at least.
const READ_BYTES: usize = 64 << 10;

/// A connection to the extender.
pub struct Client {
    stream: TcpStream,
    addr: SocketAddr,
    request: Vec<u8>,
    /// What was received: the first `filled` bytes. It grows and is never cleared, since that would
    /// take as long as reading.
    answer: Vec<u8>,
    filled: usize,
}

/// How an answer tells where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    /// Go's server takes it for all but short answers.
    Chunked,
}

impl Client {
    /// A connection to this address, or the error of connecting.
    pub fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self { stream, addr, request: Vec::new(), answer: Vec::new(), filled: 0 })
    }

    /// Posts a body and gives the body of the answer; any status but 200 is an error, as it is to
    /// kube-scheduler.
    pub fn post(&mut self, path: &str, body: &str) -> io::Result<&[u8]> {
        self.prepare(path, body)?;
        self.send()
    }

    /// Writes the request into memory.
    pub fn prepare(&mut self, path: &str, body: &str) -> io::Result<()> {
        self.request.clear();
        write!(
            self.request,
            "POST {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Go-http-client/1.1\r\n\
             Content-Length: {}\r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n",
            self.addr,
            body.len(),
        )?;
        self.request.extend_from_slice(body.as_bytes());
        Ok(())
    }

    /// Sends what was prepared and gives the body of the answer. Nothing else is in here: this is
    /// what a clock is held to.
    pub fn send(&mut self) -> io::Result<&[u8]> {
        self.filled = 0;
        self.stream.write_all(&self.request)?;
        let (head_end, framing) = self.read_head()?;
        let body = match framing {
            Framing::Length(length) => {
                self.fill(head_end, length)?;
                head_end..head_end + length
            }
            Framing::Chunked => self.read_chunks(head_end)?,
        };
        Ok(&self.answer[body])
    }

    /// Reads up to the end of the head; gives where the body starts and how it ends.
    fn read_head(&mut self) -> io::Result<(usize, Framing)> {
        loop {
            self.read()?;
            let head = &self.answer[..self.filled];
            if let Some(at) = memchr::memmem::find(head, b"\r\n\r\n") {
                return Ok((at + 4, framing(&head[..at])?));
            }
            if self.filled > MAX_HEAD_BYTES {
                return Err(malformed("the answer's head is too long"));
            }
        }
    }

    /// Reads all chunks, moves them together, and gives where they are.
    fn read_chunks(&mut self, start: usize) -> io::Result<Range<usize>> {
        let mut body = start..start;
        let mut at = start;
        loop {
            let line_end = self.line_end(at)?;
            let size = chunk_size(&self.answer[at..line_end])?;
            let data = line_end + 2;
            self.fill(data, size.saturating_add(2))?;
            let end = data + size;
            // A trailer would follow the last chunk; nobody asked for one.
            if self.answer[end..end + 2] != *b"\r\n" {
                return Err(malformed("a chunk of the answer does not end where it should"));
            }
            if size == 0 {
                return Ok(body);
            }
            if body.is_empty() {
                // The usual answer is one chunk, which stays where it is.
                body = data..end;
            } else {
                self.answer.copy_within(data..end, body.end);
                body.end += size;
            }
            at = end + 2;
        }
    }

    /// Where the line that begins at `at` has its end.
    fn line_end(&mut self, at: usize) -> io::Result<usize> {
        loop {
            let line = &self.answer[at..self.filled];
            if let Some(length) = memchr::memmem::find(line, b"\r\n") {
                return Ok(at + length);
            }
            if line.len() > MAX_HEAD_BYTES {
                return Err(malformed("a chunk of the answer does not tell its size"));
            }
            self.read()?;
        }
    }

    /// Reads until the `length` bytes from `at` on are there.
    fn fill(&mut self, at: usize, length: usize) -> io::Result<()> {
        let end = at.saturating_add(length);
        if end > MAX_BODY_BYTES {
            return Err(malformed("the answer is too long"));
        }
        while self.filled < end {
            self.read()?;
        }
        Ok(())
    }

    /// Reads what there is, at least one byte.
    fn read(&mut self) -> io::Result<()> {
        if self.answer.len() < self.filled + READ_BYTES {
            self.answer.resize((self.filled + READ_BYTES) * 2, 0);
        }
        match self.stream.read(&mut self.answer[self.filled..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.filled += count;
                Ok(())
            }
        }
    }
}

/// How the body of a 200 ends.
fn framing(head: &[u8]) -> io::Result<Framing> {
    let head = std::str::from_utf8(head).map_err(|_| malformed("the answer's head is no text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or("");
    if !status.starts_with("HTTP/1.1 200") {
        return Err(malformed(&format!("the extender answered {status:?}")));
    }
    let mut framing = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            framing = value.parse().ok().map(Framing::Length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            framing = value.eq_ignore_ascii_case("chunked").then_some(Framing::Chunked);
        } else if name.eq_ignore_ascii_case("content-encoding") {
            return Err(malformed("the answer is encoded"));
        }
    }
    framing.ok_or_else(|| malformed("the answer does not tell its length"))
}

/// The size on a chunk's first line; what may follow it means nothing to us.
fn chunk_size(line: &[u8]) -> io::Result<usize> {
    let line = std::str::from_utf8(line).unwrap_or("");
    let size = line.split(';').next().unwrap_or("").trim();
    usize::from_str_radix(size, 16)
        .map_err(|_| malformed("a chunk of the answer does not tell its size"))
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
    fn chunks_are_put_together() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let whole = [head, "3\r\nabc\r\n", "4;x=1\r\ndefg\r\n", "A\r\n0123456789\r\n0\r\n\r\n"];
        let cut =
            [head, "3", "\r", "\nab", "c\r", "\n4\r\ndefg\r\na\r\n01234", "56789\r\n0\r\n\r", "\n"];
        let none = [head, "0\r\n\r\n"];
        assert_eq!(against(whole.to_vec().leak()).expect("it is an answer"), b"abcdefg0123456789");
        assert_eq!(against(cut.to_vec().leak()).expect("it is an answer"), b"abcdefg0123456789");
        assert_eq!(against(none.to_vec().leak()).expect("it is an answer"), b"");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let cases: [&'static [&'static str]; 10] = [
            &[],
            &["HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"],
            &["HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n"],
            &["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"],
        ];
        for parts in cases {
            assert!(against(parts).is_err(), "{parts:?}");
        }
    }
}
