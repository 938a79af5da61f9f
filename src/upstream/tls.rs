//! TLS towards the upstream: whom we trust, and who we are.

use std::sync::Arc;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::pem;

/// PEM texts, as read from the files of the configuration.
#[derive(Clone, Default)]
pub struct Material {
    /// The only roots to trust; without it the public ones.
    pub ca: Option<Vec<u8>>,
    /// Our own chain and its key, for an upstream that asks for them.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

/// What is wrong with the material; names no content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// No certificate in `ca_file`, or one that is none.
    Ca,
    /// The client certificate or its key do not parse or do not fit.
    Client,
}

/// TLS 1.2 and up, HTTP/2 if the upstream likes.
pub fn config(material: &Material) -> Result<Arc<ClientConfig>, Unusable> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports both versions")
        .with_root_certificates(roots(material)?);
    let mut config = match &material.client {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Unusable::Client)?;
            builder
                .with_client_auth_cert(pem::certificates(chain).ok_or(Unusable::Client)?, key)
                .map_err(|_| Unusable::Client)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn roots(material: &Material) -> Result<RootCertStore, Unusable> {
    match &material.ca {
        None => Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
        Some(ca) => pem::roots(ca).ok_or(Unusable::Ca),
    }
}
