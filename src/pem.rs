//! Certificates as files hold them.

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::parse_x509_certificate;

use crate::certificate::Timestamp;

/// Every certificate of a PEM text; `None` if there is none, or one that is none.
pub fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    (!certificates.is_empty()).then_some(certificates)
}

/// Authorities to trust.
pub fn roots(pem: &[u8]) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).ok()?;
    }
    Some(roots)
}

/// When the first certificate of a chain that ends does.
pub fn not_after(pem: &[u8]) -> Option<Timestamp> {
    certificates(pem)?.iter().filter_map(end).min()
}

/// When this certificate ends.
pub fn end(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let nanos = i128::from(parsed.validity().not_after.timestamp()) * 1_000_000_000;
    Some(Timestamp::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_ends_with_its_first_certificate_to_end() {
        let until = |year| {
            let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 5, 13);
            params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
        };
        let chain = format!("{}{}", until(2041), until(2031));
        assert_eq!(not_after(chain.as_bytes()), Timestamp::parse("2031-05-13T00:00:00Z"));
        assert_eq!(not_after(b"-----BEGIN CERTIFICATE-----\n"), None);
    }
}
