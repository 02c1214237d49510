//! A client that speaks TLS, and HTTP/2 over it.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::pki::{Authority, Issued};

/// The name that servers here are called by.
pub(crate) const HOST: &str = "sigma.sigma-system.svc";
pub(crate) const H2: &[u8] = b"h2";

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// A connection, over which requests may be sent side by side.
#[derive(Clone)]
pub(crate) struct Http2(http2::SendRequest<Full<Bytes>>);

/// Shakes hands. In TLS 1.3 the server may still refuse the client after this.
pub(crate) async fn connect(
    address: SocketAddr,
    server_ca: &Authority,
    client: Option<&Issued>,
    protocol: &[u8],
) -> Result<TlsStream<TcpStream>, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server_ca.pem.as_bytes())?)?;
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let cert = CertificateDer::from_pem_slice(client.cert.as_bytes())?;
            let key = PrivateKeyDer::from_pem_slice(client.key.as_bytes())?;
            builder.with_client_auth_cert(vec![cert], key)?
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(HOST)?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    Ok(stream)
}

impl Http2 {
    /// A connection, and the task that drives it to its end.
    pub(crate) async fn over(
        stream: TlsStream<TcpStream>,
    ) -> Result<(Self, JoinHandle<hyper::Result<()>>), Failure> {
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        Ok((Self(sender), tokio::spawn(connection)))
    }

    pub(crate) async fn post(
        &mut self,
        path: &str,
        body: &str,
    ) -> Result<Response<Bytes>, Failure> {
        let request = Request::post(format!("https://{HOST}{path}"));
        read(self.0.send_request(request.body(Bytes::from(body.to_owned()).into())?).await?).await
    }
}

/// One request over HTTP/2 on a connection of its own.
pub(crate) async fn post_once(
    address: SocketAddr,
    server_ca: &Authority,
    client: Option<&Issued>,
    body: &str,
) -> Result<Response<Bytes>, Failure> {
    let (mut client, _) = Http2::over(connect(address, server_ca, client, H2).await?).await?;
    client.post("/filter", body).await
}

/// The whole of a response.
pub(crate) async fn read(response: Response<Incoming>) -> Result<Response<Bytes>, Failure> {
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
}
