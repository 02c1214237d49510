//! A loopback to connect over: an API server with TLS, proxies, and certificates for all of them.

use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(super) struct Pair {
    pub(super) cert: String,
    pub(super) key: String,
}

/// Somebody who vouches.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pair: Pair,
}

fn params(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|it| (*it).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("names");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = params(name, &["127.0.0.1"]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate").pem();
        let pair = Pair { cert, key: key.serialize_pem() };
        Self { issuer: Issuer::new(params, key), pair }
    }

    pub(super) fn issue(&self, name: &str, hosts: &[&str]) -> Pair {
        let key = KeyPair::generate().expect("a key");
        let cert = params(name, hosts).signed_by(&key, &self.issuer).expect("a certificate");
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// A certificate that vouches for itself alone.
pub(super) fn self_signed(name: &str) -> Pair {
    let key = KeyPair::generate().expect("a key");
    let cert = params(name, &["127.0.0.1"]).self_signed(&key).expect("a certificate");
    Pair { cert: cert.pem(), key: key.serialize_pem() }
}

/// What came to a server or a proxy, in order.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, text: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// What came since the last time.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Something that listens. Dropping it cuts every connection.
pub(super) struct Listening {
    pub(super) port: u16,
    pub(super) log: Log,
    _tasks: JoinSet<()>,
}

async fn listen<F, T>(serve: F) -> Listening
where
    F: Fn(TcpStream, Log) -> T + Send + 'static,
    T: Future<Output = Option<()>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let log = Log::default();
    let (mut tasks, seen) = (JoinSet::new(), log.clone());
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let served = serve(stream, seen.clone());
            connections.spawn(async move {
                // A client that hangs up is no concern of the server's.
                let _ = served.await;
            });
        }
    });
    Listening { port, log, _tasks: tasks }
}

fn acceptor(own: &Pair, clients: &Authority) -> TlsAcceptor {
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(clients.pair.cert.as_bytes()) {
        roots.add(der.expect("PEM")).expect("an authority");
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated();
    let chain = CertificateDer::pem_slice_iter(own.cert.as_bytes()).map(|it| it.expect("PEM"));
    let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("PEM");
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(chain.collect(), key)
        .expect("a certificate with its key");
    TlsAcceptor::from(Arc::new(config))
}

/// An API server. It notes the name that it was called by, the client's, and the request's head in
/// lower case; a token `stale` it refuses, and after `/last` it hangs up.
pub(super) async fn api_server(own: &Pair, clients: &Authority) -> Listening {
    let acceptor = acceptor(own, clients);
    listen(move |stream, log| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.ok()?;
            let connection = stream.get_ref().1;
            let called = connection.server_name().unwrap_or("nobody").to_owned();
            let client = connection.peer_certificates().and_then(|it| it.first());
            let client = client.map_or_else(|| "nobody".to_owned(), |it| common_name(it));
            while let Some(head) = head(&mut stream).await {
                log.add(format!("sni: {called}\nclient: {client}\n{}", head.to_lowercase()));
                let status = if head.contains("stale") { "401 Unauthorized" } else { "200 OK" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
                stream.write_all(answer.as_bytes()).await.ok()?;
                if head.contains("/last") {
                    return stream.shutdown().await.ok();
                }
            }
            Some(())
        }
    })
    .await
}

/// A server that ends each handshake as one does that has no algorithm in common with its client.
pub(super) async fn server_without_common_algorithm() -> Listening {
    listen(|mut stream, _| async move {
        // The whole hello: what is left unread would reset the connection.
        let mut head = [0; 5];
        stream.read_exact(&mut head).await.ok()?;
        let mut hello = vec![0; u16::from_be_bytes([head[3], head[4]]).into()];
        stream.read_exact(&mut hello).await.ok()?;
        stream.write_all(&[0x15, 3, 3, 0, 2, 2, 40]).await.ok()
    })
    .await
}

fn common_name(der: &CertificateDer<'_>) -> String {
    let (_, certificate) = X509Certificate::from_der(der).expect("a certificate");
    certificate.subject().to_string().to_lowercase()
}

/// What proxies lead to, whatever they are asked for.
pub(super) async fn http_proxy(leads_to: u16, tls: Option<(&Pair, &Authority)>) -> Listening {
    let acceptor = tls.map(|(own, clients)| acceptor(own, clients));
    listen(move |stream, log| {
        let acceptor = acceptor.clone();
        async move {
            match acceptor {
                None => tunnel(stream, log, leads_to).await,
                Some(it) => tunnel(it.accept(stream).await.ok()?, log, leads_to).await,
            }
        }
    })
    .await
}

async fn tunnel<S>(mut stream: S, log: Log, leads_to: u16) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = head(&mut stream).await?;
    let refuses = head.contains("refused.test");
    log.add(head);
    if refuses {
        let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        return stream.write_all(answer).await.ok();
    }
    let mut server = TcpStream::connect(("127.0.0.1", leads_to)).await.ok()?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut stream, &mut server).await.ok().map(|_| ())
}

/// Notes `user:password` where it is told them, and the name and port that it is asked for.
pub(super) async fn socks_proxy(leads_to: u16) -> Listening {
    listen(move |mut stream, log| async move {
        let mut greeting = [0; 2];
        stream.read_exact(&mut greeting).await.ok()?;
        let methods = text(&mut stream, greeting[1]).await?;
        if methods.contains('\u{2}') {
            stream.write_all(&[5, 2]).await.ok()?;
            stream.read_exact(&mut [0; 1]).await.ok()?;
            let user = sized_text(&mut stream).await?;
            log.add(format!("{user}:{}", sized_text(&mut stream).await?));
            stream.write_all(&[1, 0]).await.ok()?;
        } else {
            stream.write_all(&[5, 0]).await.ok()?;
        }
        let mut request = [0; 4];
        stream.read_exact(&mut request).await.ok()?;
        let host = match request[3] {
            3 => sized_text(&mut stream).await?,
            _ => {
                let mut address = [0; 4];
                stream.read_exact(&mut address).await.ok()?;
                std::net::Ipv4Addr::from(address).to_string()
            }
        };
        log.add(format!("{host}:{}", stream.read_u16().await.ok()?));
        let mut server = TcpStream::connect(("127.0.0.1", leads_to)).await.ok()?;
        stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 0]).await.ok()?;
        copy_bidirectional(&mut stream, &mut server).await.ok().map(|_| ())
    })
    .await
}

async fn sized_text(stream: &mut TcpStream) -> Option<String> {
    let length = stream.read_u8().await.ok()?;
    text(stream, length).await
}

async fn text(stream: &mut TcpStream, length: u8) -> Option<String> {
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await.ok()?;
    String::from_utf8(bytes).ok()
}

/// A request's head without the empty line behind it.
async fn head<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(bytes).ok()?;
    Some(text.replace('\r', "").trim_end().to_owned())
}
