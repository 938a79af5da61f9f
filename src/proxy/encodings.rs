//! The base64 of a few images that are asked for again and again as JSON.
//!
//! An image is held decoded, and its base64 is made while it leaves. What was asked for twice lately is worth keeping as text
//! too, within a small bound: then a hit on the JSON costs what a hit on the image does. Nothing here decides anything; a
//! text is found by the digest of an image for which there is a `Permit`.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::aged::Aged;
use crate::certificate::Digest;
use crate::pages;
use crate::release::Permit;

/// Texts of images, the least recently used ones going first.
pub struct Encodings(Mutex<Kept>);

struct Kept {
    texts: Aged<Digest, Option<Bytes>>,
    bytes: usize,
}

impl Encodings {
    /// None yet.
    pub fn new() -> Self {
        Self(Mutex::new(Kept { texts: Aged::new(), bytes: 0 }))
    }

    /// The base64 of the image that this permit shows, if it is worth keeping; the second asking makes it.
    pub fn of(&self, permit: &Permit) -> Option<Bytes> {
        let digest = permit.image_digest();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.texts.contains(&digest) {
            kept.insert(digest, None);
            return None;
        }
        if let Some(text) = kept.texts.touch(digest, || None) {
            return Some(text.clone());
        }
        let length = base64_simd::STANDARD.encoded_length(permit.image().len());
        if length > MAX_BYTES {
            return None;
        }
        drop(kept); // the work is done outside the lock, at worst twice
        let text = pages::keep(base64_simd::STANDARD.encode_to_string(permit.image()).into());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, Some(text.clone()));
        Some(text)
    }
}

impl Kept {
    fn insert(&mut self, digest: Digest, text: Option<Bytes>) {
        let weight = |text: &Option<Bytes>| text.as_ref().map_or(0, Bytes::len);
        self.bytes += weight(&text);
        while self.bytes > MAX_BYTES || self.texts.len() >= MAX_IMAGES {
            let Some((_, gone)) = self.texts.pop_oldest() else { break };
            self.bytes -= weight(&gone);
        }
        if let Some(before) = self.texts.insert(digest, text) {
            self.bytes -= weight(&before);
        }
    }
}

impl Default for Encodings {
    fn default() -> Self {
        Self::new()
    }
}

/// Some ten certificates of the usual size.
const MAX_BYTES: usize = 8 << 20;

/// Remembered as asked for, with or without a text.
const MAX_IMAGES: usize = 64;
