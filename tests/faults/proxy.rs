//! A proxy on loopback that spoils what goes through it, between sigma and an API server.
//!
//! Each connection carries one request, since the proxy asks the server to close after its answer: so
//! the first line of a request says all there is to choose a fault by.

use std::io::{Read, Result, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The connection is reset, unanswered.
    Reset,
    /// It is answered with this status, and after how many seconds it may be sent again; it never
    /// reaches the server.
    Refused(u16, u32),
    /// The server does as it is told, and its answer is cut after so many bytes.
    Half(usize),
    /// The server is asked so much later.
    Late(Duration),
}

/// The proxy. It ends, and cuts every connection, when it is dropped.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    pub(crate) port: u16,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: u16,
    state: Mutex<State>,
    /// Notified whenever something thaws.
    thawed: Condvar,
}

#[derive(Default)]
struct State {
    /// A part of the first line, the fault, and for how many more requests.
    faults: Vec<(String, Fault, usize)>,
    frozen: bool,
    stopping: bool,
    open: Vec<Weak<TcpStream>>,
    asked: Vec<String>,
}

impl Proxy {
    /// In front of the server on a port.
    pub(crate) fn start(upstream: u16) -> Self {
        let shared = Shared { upstream, state: Mutex::default(), thawed: Condvar::new() };
        let mut proxy = Self { shared: Arc::new(shared), port: 0, listening: None };
        proxy.up();
        proxy
    }

    /// Spoils the next `times` requests whose first line contains `part`.
    pub(crate) fn spoil(&self, part: &str, times: usize, fault: Fault) {
        self.shared.lock().faults.push((part.to_owned(), fault, times));
    }

    /// How many requests had this in their first line.
    pub(crate) fn asked(&self, part: &str) -> usize {
        self.shared.lock().asked.iter().filter(|line| line.contains(part)).count()
    }

    /// Connections stay open, and nothing of the server comes through; or what was kept back does.
    pub(crate) fn freeze(&self, on: bool) {
        self.shared.lock().frozen = on;
        self.shared.thawed.notify_all();
    }

    /// Every connection is cut.
    pub(crate) fn cut(&self) {
        for it in self.shared.lock().open.drain(..).filter_map(|it| it.upgrade()) {
            // It may be closed already.
            let _ = it.shutdown(Shutdown::Both);
        }
    }

    /// Every connection is cut, and whoever comes is refused.
    pub(crate) fn down(&mut self) {
        let Some(listening) = self.listening.take() else { return };
        self.shared.lock().stopping = true;
        // Wakes the listener up.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        listening.join().expect("the listener does not panic");
        self.cut();
    }

    /// Listens again, on the port from before.
    pub(crate) fn up(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("a free port");
        self.port = listener.local_addr().expect("it is bound").port();
        self.shared.lock().stopping = false;
        let shared = self.shared.clone();
        self.listening = Some(std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.lock().stopping {
                    return;
                }
                let shared = shared.clone();
                // Whichever side goes away ends it, which is no fault of the proxy's.
                std::thread::spawn(move || shared.serve(client).ok());
            }
        }));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.freeze(false);
        self.down();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread of the proxy panics")
    }

    fn fault_of(&self, line: &str) -> Option<Fault> {
        let mut state = self.lock();
        state.asked.push(line.to_owned());
        let mut faults = state.faults.iter_mut();
        let (_, fault, times) = faults.find(|it| it.2 > 0 && line.contains(&it.0))?;
        *times -= 1;
        Some(*fault)
    }

    fn serve(&self, client: TcpStream) -> Result<()> {
        let head = peek_head(&client)?;
        let (line, fields) = head.split_once("\r\n").unwrap_or_default();
        let fault = self.fault_of(line);
        if matches!(fault, Some(Fault::Reset)) {
            // A socket that is closed with something unread in it is reset.
            return Ok(());
        }
        (&client).read_exact(&mut vec![0; head.len()])?;
        let mut body = vec![0; content_length(fields)];
        (&client).read_exact(&mut body)?;
        let mut left = usize::MAX;
        match fault {
            Some(Fault::Refused(code, after)) => return refuse(&client, code, after),
            Some(Fault::Half(bytes)) => left = bytes,
            Some(Fault::Late(by)) => std::thread::sleep(by),
            Some(Fault::Reset) | None => {}
        }
        let server = self.cut_when_down(TcpStream::connect(("127.0.0.1", self.upstream))?);
        let client = self.cut_when_down(client);
        write!(&*server, "{line}\r\nConnection: close\r\n{fields}")?;
        (&*server).write_all(&body)?;
        let (from, to) = (client.clone(), server.clone());
        std::thread::spawn(move || {
            // There is nothing more to read: whatever comes is the end.
            let _ = (&*from).read(&mut [0]);
            to.shutdown(Shutdown::Both)
        });
        let mut chunk = [0; 16 << 10];
        while left > 0 {
            let count = (&*server).read(&mut chunk)?.min(left);
            if count == 0 {
                break;
            }
            drop(self.thawed.wait_while(self.lock(), |it| it.frozen));
            (&*client).write_all(&chunk[..count])?;
            left -= count;
        }
        client.shutdown(Shutdown::Both)
    }

    fn cut_when_down(&self, stream: TcpStream) -> Arc<TcpStream> {
        let stream = Arc::new(stream);
        let mut state = self.lock();
        state.open.retain(|it| it.strong_count() > 0);
        state.open.push(Arc::downgrade(&stream));
        stream
    }
}

/// The head of a request, left where it is.
fn peek_head(client: &TcpStream) -> Result<String> {
    let mut chunk = [0; 16 << 10];
    loop {
        let count = client.peek(&mut chunk)?;
        let text = String::from_utf8_lossy(&chunk[..count]);
        if let Some(end) = text.find("\r\n\r\n") {
            return Ok(text[..end + 4].to_owned());
        }
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn content_length(fields: &str) -> usize {
    let fields = fields.to_lowercase();
    let value = fields.lines().find_map(|line| line.strip_prefix("content-length: "));
    value.and_then(|it| it.parse().ok()).unwrap_or(0)
}

fn refuse(mut client: &TcpStream, code: u16, after: u32) -> Result<()> {
    let body = format!("{{\"kind\":\"Status\",\"code\":{code},\"message\":\"spoiled\"}}");
    let length = body.len();
    write!(
        client,
        "HTTP/1.1 {code} Spoiled\r\nRetry-After: {after}\r\nContent-Type: application/json\r\n\
         Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}
