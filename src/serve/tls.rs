//! TLS towards the clients: who we are, and whom we ask to prove who they are.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;

use crate::pem::{certificates, roots};

/// What is wrong with the material; names no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// The chain or its key do not parse or do not fit.
    Own,
    /// No certificate among the clients' authorities, or one that is none.
    ClientCa,
}

/// TLS 1.2 and up, HTTP/2 if the client likes; all three in PEM. With `client_ca` a client without a certificate of these
/// authorities does not get past the handshake.
pub fn config(chain: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<Arc<ServerConfig>, Unusable> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider supports both versions");
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let roots = Arc::new(roots(ca).ok_or(Unusable::ClientCa)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|_| Unusable::ClientCa)?)
        }
    };
    let chain = certificates(chain).ok_or(Unusable::Own)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Unusable::Own)?;
    let mut config = builder.with_single_cert(chain, key).map_err(|_| Unusable::Own)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
