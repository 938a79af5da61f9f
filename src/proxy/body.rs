//! The bodies that leave: nothing, bytes, a certificate's JSON written on the way out, or a stream passed through.
//!
//! A certificate's JSON is not held anywhere as a whole: its frame is, and its image is, and the base64 between them is made
//! piece by piece while the client takes it. Pieces are large enough that their number does not matter and small enough to
//! stay in the processor's cache.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body as _, Frame, SizeHint};

use crate::metrics::InFlight;
use crate::release::Permit;
use crate::upstream;

/// What an answer of the data listener carries, and the request's place among those under way, kept until it is out.
#[derive(Debug, Default)]
pub struct Body {
    content: Content,
    _in_flight: Option<InFlight>,
}

#[derive(Debug, Default)]
enum Content {
    #[default]
    Empty,
    Whole(Chain),
    Certificate(Json),
    /// What was held of a stream before it turned out to be too long to hold, then the rest of it.
    Streamed(Bytes, Box<upstream::Body>),
}

/// Up to three strings of bytes that leave as one, with one write where the connection allows it: a certificate's JSON whose
/// image is there as text is what stands before it, the text, and what stands after it.
#[derive(Debug, Default)]
pub struct Chain([Bytes; 3]);

/// A certificate's JSON, of which `done` bytes of the image are already out and `left` bytes of the text are not.
#[derive(Debug)]
struct Json {
    permit: Permit,
    done: usize,
    left: u64,
}

// === impl Body ===

impl Body {
    /// Nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// All of it at once.
    pub fn whole(bytes: Bytes) -> Self {
        Self { content: Content::Whole(bytes.into()), _in_flight: None }
    }

    /// A released certificate as JSON; `text` is its image in base64, where somebody has that already.
    pub fn certificate(permit: Permit, text: Option<Bytes>) -> Self {
        let content = match text {
            Some(text) => Content::Whole(Chain([permit.frame().before.clone(), text, permit.frame().after.clone()])),
            None => Content::Certificate(Json { left: json_length(&permit), permit, done: 0 }),
        };
        Self { content, _in_flight: None }
    }

    /// The upstream's own body as it comes, after `begun`, which came already.
    pub fn streamed(begun: Bytes, rest: upstream::Body) -> Self {
        Self { content: Content::Streamed(begun, Box::new(rest)), _in_flight: None }
    }

    /// The request counts as under way until this body is out.
    pub fn until_out(self, in_flight: InFlight) -> Self {
        Self { _in_flight: Some(in_flight), ..self }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Chain>, upstream::BodyError>>> {
        let piece = match &mut self.content {
            Content::Empty => return Poll::Ready(None),
            Content::Whole(chain) => {
                let chain = std::mem::take(chain);
                self.content = Content::Empty;
                chain
            }
            Content::Certificate(json) => {
                let piece = json.next_piece();
                if json.left == 0 {
                    self.content = Content::Empty;
                }
                piece.into()
            }
            Content::Streamed(begun, _) if !begun.is_empty() => std::mem::take(begun).into(),
            Content::Streamed(_, rest) => {
                return Pin::new(&mut **rest).poll_frame(cx).map_ok(|frame| frame.map_data(Chain::from));
            }
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl http_body::Body for Body {
    type Data = Chain;
    type Error = upstream::BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Chain>, Self::Error>>> {
        self.next(cx)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Whole(chain) => !chain.has_remaining(),
            Content::Certificate(_) => false,
            Content::Streamed(begun, rest) => begun.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Whole(chain) => SizeHint::with_exact(chain.remaining() as u64),
            Content::Certificate(json) => SizeHint::with_exact(json.left),
            Content::Streamed(begun, rest) if begun.is_empty() => rest.size_hint(),
            Content::Streamed(..) => SizeHint::default(),
        }
    }
}

// === impl Chain ===

impl From<Bytes> for Chain {
    fn from(bytes: Bytes) -> Self {
        Self([bytes, Bytes::new(), Bytes::new()])
    }
}

impl Buf for Chain {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.iter().find(|part| !part.is_empty()).map_or(&[], |part| part)
    }

    fn advance(&mut self, count: usize) {
        let mut left = count;
        for part in &mut self.0 {
            let taken = left.min(part.len());
            part.advance(taken);
            left -= taken;
        }
        assert_eq!(left, 0, "advanced beyond the end");
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = self.0.iter().filter(|part| !part.is_empty());
        slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }
}

// === impl Json ===

impl Json {
    /// The next piece, with the frame's parts joined to the first and the last.
    fn next_piece(&mut self) -> Bytes {
        let image = &self.permit.image()[self.done..];
        let frame = self.permit.frame();
        let is_last = image.len() <= PIECE;
        let image = &image[..image.len().min(PIECE)];
        let before: &[u8] = if self.done == 0 { &frame.before } else { &[] };
        let after: &[u8] = if is_last { &frame.after } else { &[] };

        let digits = base64_simd::STANDARD.encoded_length(image.len());
        let mut piece = Vec::with_capacity(before.len() + digits + after.len());
        piece.extend_from_slice(before);
        base64_simd::STANDARD.encode_append(image, &mut piece);
        piece.extend_from_slice(after);

        self.done += image.len();
        self.left -= piece.len() as u64;
        piece.into()
    }
}

/// How long the JSON of this certificate is.
fn json_length(permit: &Permit) -> u64 {
    (permit.frame().len() + base64_simd::STANDARD.encoded_length(permit.image().len())) as u64
}

/// Bytes of image in one piece; a multiple of three, so that only the last piece is padded.
///
/// 48 KiB make 64 KiB of text: measured against 24 and 96, with a client on the other core, it served a fifth more than 96.
const PIECE: usize = 48 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_read_as_its_parts_in_a_row_wherever_it_is_cut() {
        let parts = ["before", "", "after"].map(|part| Bytes::from_static(part.as_bytes()));
        for cut in 0..=11 {
            let mut chain = Chain(parts.clone());
            chain.advance(cut);
            assert_eq!(chain.remaining(), 11 - cut);
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = chain.chunks_vectored(&mut slices);
            assert_eq!(
                slices[..filled].iter().map(|slice| &slice[..]).collect::<Vec<_>>().concat(),
                b"beforeafter"[cut..]
            );
            assert!(slices[..filled].iter().all(|slice| !slice.is_empty()));
            assert_eq!(chain.chunk(), slices.first().filter(|_| filled > 0).map_or(&b""[..], |slice| slice));
            assert_eq!(chain.copy_to_bytes(11 - cut), b"beforeafter"[cut..]);
        }
    }
}
