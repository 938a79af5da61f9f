//! The bodies that leave: nothing, bytes, a certificate's JSON written on the way out, or a stream passed through.
//!
//! A certificate's JSON is not held anywhere as a whole: its frame is, and its image is, and the base64 between them is made
//! piece by piece while the client takes it. Pieces are large enough that their number does not matter and small enough to
//! stay in the processor's cache.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
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
    Whole(Bytes),
    Certificate(Json),
    /// A certificate's JSON whose image is there as text: what is before it, the text, what is after it.
    Encoded([Bytes; 3]),
    /// What was held of a stream before it turned out to be too long to hold, then the rest of it.
    Streamed(Bytes, Box<upstream::Body>),
}

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
        Self { content: Content::Whole(bytes), _in_flight: None }
    }

    /// A released certificate as JSON; `text` is its image in base64, where somebody has that already.
    pub fn certificate(permit: Permit, text: Option<Bytes>) -> Self {
        let content = match text {
            Some(text) => Content::Encoded([permit.frame().before.clone(), text, permit.frame().after.clone()]),
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

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, upstream::BodyError>>> {
        let piece = match &mut self.content {
            Content::Empty => return Poll::Ready(None),
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = Content::Empty;
                bytes
            }
            Content::Certificate(json) => {
                let piece = json.next_piece();
                if json.left == 0 {
                    self.content = Content::Empty;
                }
                piece
            }
            Content::Encoded(parts) => match parts.iter_mut().find(|part| !part.is_empty()) {
                Some(part) => std::mem::take(part),
                None => return Poll::Ready(None),
            },
            Content::Streamed(begun, _) if !begun.is_empty() => std::mem::take(begun),
            Content::Streamed(_, rest) => return Pin::new(&mut **rest).poll_frame(cx),
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = upstream::BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.next(cx)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Certificate(_) => false,
            Content::Encoded(parts) => parts.iter().all(Bytes::is_empty),
            Content::Streamed(begun, rest) => begun.is_empty() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Certificate(json) => SizeHint::with_exact(json.left),
            Content::Encoded(parts) => SizeHint::with_exact(parts.iter().map(|part| part.len() as u64).sum()),
            Content::Streamed(begun, rest) if begun.is_empty() => rest.size_hint(),
            Content::Streamed(..) => SizeHint::default(),
        }
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
