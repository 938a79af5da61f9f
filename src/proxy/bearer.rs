//! Who bears the token may ask (RFC 6750): for listeners that others than this machine can reach.
//!
//! Compared are keyed hashes, whose comparison takes the same time wherever they differ, so that nobody finds the token out
//! letter by letter. The token itself is not kept.

use arc_swap::ArcSwapOption;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::reason::Reason;

/// The token that is expected, if one is.
#[derive(Default)]
pub struct Bearer(ArcSwapOption<Expected>);

struct Expected {
    key: [u8; 32],
    hash: blake3::Hash,
}

impl Bearer {
    /// Expects this token from now on, or none.
    pub fn expect(&self, token: Option<&str>) -> Result<(), getrandom::Error> {
        self.0.store(token.map(Expected::new).transpose()?.map(Into::into));
        Ok(())
    }

    /// Whether a token is expected at all.
    pub fn is_expected(&self) -> bool {
        self.0.load().is_some()
    }

    /// Lets whoever bears the token pass, or everybody where none is expected.
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), Reason> {
        let expected = self.0.load();
        let Some(expected) = expected.as_ref() else { return Ok(()) };
        match borne(headers) {
            Some(token) if expected.hash == blake3::keyed_hash(&expected.key, token) => Ok(()),
            _ => Err(Reason::ClientUnauthenticated),
        }
    }
}

impl Expected {
    fn new(token: &str) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { key, hash: blake3::keyed_hash(&key, token.as_bytes()) })
    }
}

/// The token of the only `Authorization` there is.
fn borne(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(only), None) = (given.next(), given.next()) else { return None };
    let (scheme, token) = only.as_bytes().split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

const SCHEME: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_passes_and_only_once() {
        let bearer = Bearer::default();
        let ask = |values: &[&str]| {
            let headers = values.iter().map(|value| (AUTHORIZATION, value.parse().expect("a value"))).collect();
            bearer.admit(&headers)
        };
        assert_eq!(ask(&[]), Ok(()));
        bearer.expect(Some("token-1")).expect("random numbers");
        for right in [&["Bearer token-1"], &["bearer  token-1"]] {
            assert_eq!(ask(right), Ok(()), "{right:?}");
        }
        let wrong: [&[&str]; 8] = [
            &[],
            &[""],
            &["Bearer"],
            &["Bearer "],
            &["Bearer token-2"],
            &["Basic token-1"],
            &["token-1"],
            &["Bearer token-1", "Bearer token-1"],
        ];
        for wrong in wrong {
            assert_eq!(ask(wrong), Err(Reason::ClientUnauthenticated), "{wrong:?}");
        }
        bearer.expect(Some("token-2")).expect("random numbers");
        assert_eq!((ask(&["Bearer token-1"]).is_err(), ask(&["Bearer token-2"])), (true, Ok(())));
    }
}
