//! The words of a history: what the world tells the reference. Times are plain numbers.

pub const SECOND: i64 = 1_000_000_000;
pub const MAX_AGE: i64 = 120 * SECOND;
pub const SKEW: i64 = 60 * SECOND;

/// When something happened: its place among all events, and both clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct At {
    pub order: u64,
    pub mono: i64,
    pub wall: i64,
}

/// An answer as a journey received it; `id` is what was signed: two answers with one id are the very same.
#[derive(Clone, Debug)]
pub struct Answer {
    pub id: u64,
    pub genuine: bool,
    pub key: u8,
    pub journey: u8,
    pub person: u8,
    pub code: &'static str,
    pub shown: (u8, u8), // ETag and image
    pub signed: i64,
    pub expires: i64,
    pub sent: At,
    pub received: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Journey(u8),
    Person(u8),
    Etag(u8),
    All,
}
