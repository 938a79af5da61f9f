//! The TLS handshake, and what was met in it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, ProtocolVersion, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::Timestamp;
use crate::doctor::seen::{NoTls, Session};
use crate::pem;

/// Our client certificate, or that there is none; remembers whether it was asked for.
///
/// An upstream that wants one says so in the handshake, but refuses only after it, with an alert that may be lost when it
/// closes the connection. That it asked is certain.
#[derive(Debug)]
pub struct ClientCertificate {
    ours: Arc<dyn ResolvesClientCert>,
    is_wanted: AtomicBool,
}

impl ClientCertificate {
    /// Puts itself between these settings and their certificate.
    pub fn of(settings: &mut ClientConfig) -> Arc<Self> {
        let ours = settings.client_auth_cert_resolver.clone();
        let certificate = Arc::new(Self { ours, is_wanted: AtomicBool::new(false) });
        settings.client_auth_cert_resolver = certificate.clone();
        certificate
    }

    /// The upstream has asked for it.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, roots: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.is_wanted.store(true, Ordering::Relaxed);
        self.ours.resolve(roots, schemes)
    }

    fn has_certs(&self) -> bool {
        self.ours.has_certs()
    }
}

/// TLS with the machine of this name.
pub async fn handshake(tcp: TcpStream, tls: ClientConfig, host: String) -> Result<TlsStream<TcpStream>, NoTls> {
    let name = ServerName::try_from(host).map_err(|_| NoTls::WrongName(Vec::new()))?;
    TlsConnector::from(Arc::new(tls)).connect(name, tcp).await.map_err(|error| match tls_error(&error) {
        Some(error) => no_tls(error),
        None => NoTls::Closed,
    })
}

fn no_tls(error: &rustls::Error) -> NoTls {
    let time = |at: &rustls::pki_types::UnixTime| Some(Timestamp::from_nanos(i128::from(at.as_secs()) * NANOS));
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            // A bad signature: another authority of the same name, as when a private one was made anew.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => NoTls::Untrusted,
            CertificateError::NotValidForNameContext { presented, .. } => {
                // The library gives names as its own `Debug` writes them.
                let bare = |name: &String| name.trim_start_matches("DnsName(\"").trim_end_matches("\")").to_owned();
                NoTls::WrongName(presented.iter().map(bare).collect())
            }
            CertificateError::NotValidForName => NoTls::WrongName(Vec::new()),
            CertificateError::ExpiredContext { not_after, .. } => NoTls::Expired(time(not_after)),
            CertificateError::Expired => NoTls::Expired(None),
            CertificateError::NotValidYetContext { not_before, .. } => NoTls::NotYetValid(time(not_before)),
            CertificateError::NotValidYet => NoTls::NotYetValid(None),
            _ => NoTls::BadCertificate,
        },
        rustls::Error::InvalidMessage(_) => NoTls::NotTls,
        rustls::Error::PeerIncompatible(_) => NoTls::NothingInCommon,
        rustls::Error::AlertReceived(alert) => NoTls::Alert(*alert),
        _ => NoTls::Closed,
    }
}

/// What was agreed on, and when the upstream's own certificate ends.
pub fn session(stream: &TlsStream<TcpStream>) -> Session {
    let session = stream.get_ref().1;
    let own = session.peer_certificates().and_then(<[_]>::first);
    Session {
        version: if session.protocol_version() == Some(ProtocolVersion::TLSv1_2) { "1.2" } else { "1.3" },
        not_after: own.and_then(pem::end),
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

const NANOS: i128 = 1_000_000_000;
