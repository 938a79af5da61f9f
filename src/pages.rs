//! Large byte strings in memory pages of their own, so that a connection can send them without copying.
//!
//! The kernel can be handed pages instead of bytes, but it then reads them whenever it likes, long after the call: memory that
//! an allocator gives to the next image would show that image to the client of the one before. So what may leave that way is
//! written once, into pages that hold nothing else, is read-only from then on, and goes back to the kernel, never to an
//! allocator. The kernel keeps the pages it was handed until the last byte has been taken, whatever happens to them here.
//!
//! The surprising decision: which memory is of this kind is remembered for the whole process, as an allocator would. A
//! connection sees only bytes, whatever HTTP has made of a body before; where they lie is the one thing that is still true of
//! them.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

/// Keeps these bytes: copied into pages of their own, unless they are there already, or are too few, or there are no pages to be
/// had.
pub fn keep(bytes: Bytes) -> Bytes {
    if bytes.len() < MIN_LENGTH || are_kept(&bytes) || kept().len() >= MAX_KEPT {
        return bytes;
    }
    Pages::holding(&bytes).map_or(bytes, Bytes::from_owner)
}

/// All of these bytes lie in pages that never change. Whoever asks holds the bytes, so that they stay there meanwhile.
pub fn are_kept(bytes: &[u8]) -> bool {
    if bytes.len() < MIN_LEFT {
        return false;
    }
    let start = bytes.as_ptr().addr();
    kept().range(..=start).next_back().is_some_and(|(_, end)| start + bytes.len() <= *end)
}

fn kept() -> RwLockReadGuard<'static, BTreeMap<usize, usize>> {
    KEPT.read().unwrap_or_else(PoisonError::into_inner)
}

fn kept_mut() -> RwLockWriteGuard<'static, BTreeMap<usize, usize>> {
    KEPT.write().unwrap_or_else(PoisonError::into_inner)
}

/// Pages that hold one byte string.
struct Pages(Mmap);

impl Pages {
    fn holding(bytes: &[u8]) -> std::io::Result<Self> {
        let mut pages = MmapOptions::new().len(bytes.len()).populate().map_anon()?;
        pages.copy_from_slice(bytes);
        let pages = Self(pages.make_read_only()?);
        let (start, end) = pages.range();
        kept_mut().insert(start, end);
        Ok(pages)
    }

    fn range(&self) -> (usize, usize) {
        let range = self.0.as_ptr_range();
        (range.start.addr(), range.end.addr())
    }
}

impl AsRef<[u8]> for Pages {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Pages {
    /// Forgotten before they go: the same addresses may be given to something else at once.
    fn drop(&mut self) {
        kept_mut().remove(&self.range().0);
    }
}

/// Where such pages are: first address, and the one behind the last.
static KEPT: RwLock<BTreeMap<usize, usize>> = RwLock::new(BTreeMap::new());

/// Shorter ones would waste a good part of their last page. Measured: a 30 KB image still leaves a tenth faster this way.
const MIN_LENGTH: usize = 32 * 1024;

/// A process may have 65,530 mappings, unless the machine is set up otherwise, and the allocator needs some of them too.
const MAX_KEPT: usize = 32 * 1024;

/// The last few bytes of a string are not worth the way around.
const MIN_LEFT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_known_in_all_its_parts_and_nothing_beside_it() {
        let bytes: Bytes = (0..MIN_LENGTH + 5000).map(|n| (n % 251) as u8).collect();
        let kept = keep(bytes.clone());
        assert_eq!(kept, bytes);
        assert!(are_kept(&kept) && are_kept(&kept[1..]) && are_kept(&kept.slice(5000..)));
        assert!(!are_kept(&bytes), "another copy of the same bytes");
        assert_eq!(keep(kept.clone()).as_ptr(), kept.as_ptr(), "once is enough");
        assert!(!are_kept(&kept[..MIN_LEFT - 1]), "too little to be worth it");
    }

    #[test]
    fn short_strings_stay_where_they_are() {
        let bytes = Bytes::from(vec![7; MIN_LENGTH - 1]);
        let address = bytes.as_ptr();
        let kept = keep(bytes);
        assert_eq!(kept.as_ptr(), address);
        assert!(!are_kept(&kept));
    }

    #[test]
    fn pages_are_forgotten_with_their_last_holder() {
        let image = keep(vec![7; MIN_LENGTH].into());
        let (start, other) = (image.as_ptr().addr(), image.clone());
        let is_known = || kept().contains_key(&start);
        drop(image);
        assert!(is_known());
        drop(other);
        assert!(!is_known());
    }
}
