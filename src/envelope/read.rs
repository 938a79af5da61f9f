//! A strict JSON reader whose strings stay where they lie.
//!
//! Ours, although `serde_json` reads JSON well: nearly all of an answer is one string of half a megabyte, and here that string
//! is passed over at the speed of `memchr`. What is rare is left to the library: strings with escapes are decoded by it. A
//! property holds this reader against `serde_json` on valid and on damaged texts.
//!
//! Stricter than RFC 8259 in three points, where several readings are possible or none is good: no key twice, no number beyond
//! a double, no more than 127 levels.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::{Malformed, Node};

/// Reads one value that is the whole text.
pub fn read(wire: &[u8]) -> Result<Node<'_>, Malformed> {
    let text = simdutf8::basic::from_utf8(wire).map_err(|_| Malformed)?;
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = reader.value()?;
    reader.pass_white();
    if reader.at == text.len() { Ok(value) } else { Err(Malformed) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self) -> Result<Node<'a>, Malformed> {
        self.pass_white();
        match self.peek() {
            Some(b'"') => Ok(Node::String(self.string()?)),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b't') => self.literal("true", Node::Bool(true)),
            Some(b'f') => self.literal("false", Node::Bool(false)),
            Some(b'n') => self.literal("null", Node::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(Malformed),
        }
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Result<Node<'a>, Malformed>) -> Result<Node<'a>, Malformed> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Malformed);
        }
        self.at += 1;
        let value = inside(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn object(&mut self) -> Result<Node<'a>, Malformed> {
        let mut members = Vec::new();
        if !self.takes(b'}') {
            loop {
                self.pass_white();
                let key = self.string()?;
                self.expect(b':')?;
                members.push((key, self.value()?));
                if self.takes(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        members.sort_unstable_by(|(a, _), (b, _)| utf16_order(a, b));
        let is_key_twice = members.windows(2).any(|pair| pair[0].0 == pair[1].0);
        if is_key_twice { Err(Malformed) } else { Ok(Node::Object(members)) }
    }

    fn array(&mut self) -> Result<Node<'a>, Malformed> {
        let mut items = Vec::new();
        if !self.takes(b']') {
            loop {
                items.push(self.value()?);
                if self.takes(b']') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        Ok(Node::Array(items))
    }

    /// From the opening quote to the closing one; borrowed unless there is a backslash between them.
    fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.expect_here(b'"')?;
        let start = self.at;
        let mut has_escapes = false;
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let found = memchr::memchr2(b'"', b'\\', rest).ok_or(Malformed)?;
            self.at += found;
            if rest[found] == b'"' {
                break;
            }
            has_escapes = true;
            self.at = (self.at + 2).min(self.text.len());
        }
        let inside = &self.text[start..self.at];
        self.at += 1;
        if has_escapes {
            let decoded = serde_json::from_str(&self.text[start - 1..self.at]).map_err(|_| Malformed)?;
            return Ok(Cow::Owned(decoded));
        }
        if has_control(inside.as_bytes()) { Err(Malformed) } else { Ok(Cow::Borrowed(inside)) }
    }

    /// RFC 8259, section 6; the value is the nearest double, and there must be one.
    fn number(&mut self) -> Result<Node<'a>, Malformed> {
        let start = self.at;
        self.takes_here(b'-');
        if !self.takes_here(b'0') {
            self.digits()?;
        }
        if self.takes_here(b'.') {
            self.digits()?;
        }
        if self.takes_here(b'e') || self.takes_here(b'E') {
            let _ = self.takes_here(b'+') || self.takes_here(b'-');
            self.digits()?;
        }
        let value: f64 = self.text[start..self.at].parse().map_err(|_| Malformed)?;
        if value.is_finite() { Ok(Node::Number(value)) } else { Err(Malformed) }
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(Malformed) }
    }

    fn literal(&mut self, word: &str, value: Node<'a>) -> Result<Node<'a>, Malformed> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(Malformed);
        }
        self.at += word.len();
        Ok(value)
    }

    fn pass_white(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes over this byte, and white space before it, if it comes next.
    fn takes(&mut self, byte: u8) -> bool {
        self.pass_white();
        self.takes_here(byte)
    }

    fn takes_here(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.takes(byte) { Ok(()) } else { Err(Malformed) }
    }

    fn expect_here(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.takes_here(byte) { Ok(()) } else { Err(Malformed) }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

/// By the least byte, which the compiler finds sixteen at a time with one instruction.
fn has_control(bytes: &[u8]) -> bool {
    bytes.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < 0x20
}

/// RFC 8785, section 3.2.3: by UTF-16 code units, which for ASCII is the order of the bytes.
fn utf16_order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

/// What `serde_json` allows by default, too.
const MAX_DEPTH: usize = 127;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn as_value(node: &Node<'_>) -> Value {
        match node {
            Node::Null => Value::Null,
            Node::Bool(value) => (*value).into(),
            Node::Number(value) => (*value).into(),
            Node::String(text) => text.as_ref().into(),
            Node::Array(items) => items.iter().map(as_value).collect(),
            Node::Object(members) => members.iter().map(|(key, value)| (key.to_string(), as_value(value))).collect(),
        }
    }

    fn with_doubles(value: Value) -> Value {
        match value {
            Value::Number(number) => number.as_f64().into(),
            Value::Array(items) => items.into_iter().map(with_doubles).collect(),
            Value::Object(members) => members.into_iter().map(|(key, value)| (key, with_doubles(value))).collect(),
            other => other,
        }
    }

    /// No key stands twice in an object that the library reads as having as many members as we do.
    fn agree(text: &[u8]) -> Result<(), TestCaseError> {
        match (read(text), serde_json::from_slice::<Value>(text)) {
            (Ok(node), Ok(value)) => prop_assert_eq!(as_value(&node), with_doubles(value)),
            (Ok(_), Err(error)) => prop_assert!(false, "only we read it: {}", error),
            (Err(_), Ok(value)) => prop_assert!(has_key_twice(text, &value), "only the library reads it"),
            (Err(_), Err(_)) => {}
        }
        Ok(())
    }

    /// The library keeps one of two equal keys, so that fewer colons stand in its text than in the original's.
    fn has_key_twice(text: &[u8], value: &Value) -> bool {
        let colons = |text: &[u8]| text.iter().filter(|byte| **byte == b':').count();
        colons(value.to_string().as_bytes()) < colons(text)
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z\"\\\\\u{1}\u{e9}\u{1f600}]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::hash_map("[a-c\u{e000}\u{1f600}]{0,2}", inner, 0..5)
                    .prop_map(|members| Value::from(members.into_iter().collect::<serde_json::Map<_, _>>())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn valid_texts_read_as_the_library_reads_them(value in values(), pretty: bool) {
            agree(if pretty { format!("{value:#}") } else { value.to_string() }.as_bytes())?;
        }

        #[test]
        fn damaged_texts_are_refused_where_the_library_refuses_them(
            value in values(), at: prop::sample::Index, with in prop::sample::select(b"\"\\{}[],:0-.eE+u \n\x00\x7f\xc3\xed".to_vec()), cut: bool,
        ) {
            let mut text = value.to_string().into_bytes();
            let at = at.index(text.len());
            if cut { text.truncate(at) } else { text[at] = with }
            agree(&text)?;
        }
    }
}
