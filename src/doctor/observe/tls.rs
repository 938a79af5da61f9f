//! The TLS handshake, and what was met in it.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, ProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::Timestamp;
use crate::doctor::seen::{NoTls, Session};
use crate::pem;

pub async fn handshake(tcp: TcpStream, tls: Arc<ClientConfig>, host: String) -> Result<TlsStream<TcpStream>, NoTls> {
    let name = ServerName::try_from(host).map_err(|_| NoTls::WrongName(Vec::new()))?;
    TlsConnector::from(tls).connect(name, tcp).await.map_err(|error| match tls_error(&error) {
        Some(error) => no_tls(error),
        None => NoTls::Closed,
    })
}

fn no_tls(error: &rustls::Error) -> NoTls {
    let time = |at: &rustls::pki_types::UnixTime| Some(Timestamp::from_nanos(i128::from(at.as_secs()) * NANOS));
    match error {
        rustls::Error::InvalidCertificate(wrong) => match wrong {
            CertificateError::UnknownIssuer => NoTls::Untrusted,
            CertificateError::NotValidForNameContext { presented, .. } => {
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

pub fn session(stream: &TlsStream<TcpStream>) -> Session {
    let session = stream.get_ref().1;
    let chain = session.peer_certificates().unwrap_or_default();
    Session {
        version: if session.protocol_version() == Some(ProtocolVersion::TLSv1_2) { "1.2" } else { "1.3" },
        not_after: chain.iter().filter_map(pem::end).min(),
    }
}

pub fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

const NANOS: i128 = 1_000_000_000;
