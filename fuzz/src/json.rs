//! JSON by `serde_json`, and its canonical form by the letter of RFC 8785.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// What a text is.
#[derive(Debug, PartialEq)]
pub enum Reading {
    /// No JSON.
    Refused,
    /// JSON in which an object names a member twice.
    KeyTwice,
    /// JSON of one meaning; numbers are doubles.
    Value(Value),
}

/// Reads a whole text.
pub fn read(text: &[u8]) -> Reading {
    if serde_json::from_slice::<Value>(text).is_err() {
        return Reading::Refused;
    }
    match serde_json::from_slice::<Strict>(text) {
        Ok(Strict(value)) => Reading::Value(value),
        Err(_) => Reading::KeyTwice,
    }
}

/// The canonical form.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => ecmascript(number.as_f64().expect("a double")),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.encode_utf16().collect::<Vec<_>>());
            let members: Vec<_> =
                members.into_iter().map(|(key, value)| format!("{}:{}", quoted(key), canonical(value))).collect();
            format!("{{{}}}", members.join(","))
        }
    }
}

/// What the authority signs: the canonical form without the root member `signature`.
pub fn signed_part(root: &Map<String, Value>) -> String {
    let mut rest = root.clone();
    rest.remove("signature");
    canonical(&Value::Object(rest))
}

/// Number::toString of ECMAScript (RFC 8785, section 3.2.2.3), from the shortest digits that read back the same.
pub fn ecmascript(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    if number < 0.0 {
        return format!("-{}", ecmascript(-number));
    }
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').expect("scientific notation");
    let digits = even_of_two(number, mantissa.replace('.', ""), exponent);
    let count = digits.len() as i32;
    let point = exponent.parse::<i32>().expect("an exponent") + 1;
    let zeros = |many: i32| "0".repeat(many as usize);
    if count <= point && point <= 21 {
        return digits + &zeros(point - count);
    }
    if 0 < point && point <= 21 {
        let (whole, fraction) = digits.split_at(point as usize);
        return format!("{whole}.{fraction}");
    }
    if -6 < point && point <= 0 {
        return format!("0.{}{digits}", zeros(-point));
    }
    let (first, others) = digits.split_at(1);
    let dot = if others.is_empty() { "" } else { "." };
    format!("{first}{dot}{others}e{:+}", point - 1)
}

/// Half way between two texts of the fewest digits ECMAScript takes the even one, and the standard library the other.
fn even_of_two(number: f64, digits: String, exponent: &str) -> String {
    let exact = format!("{number:.800e}").replace('.', "");
    let (low, beyond) = exact.split_at(digits.len());
    let is_half = beyond.starts_with('5') && beyond[1..].trim_start_matches('0').starts_with('e');
    let low: u128 = low.parse().expect("at most 17 digits");
    let even = (low + low % 2).to_string();
    let scale = exponent.parse::<i32>().expect("an exponent") + 1 - digits.len() as i32;
    let reads_back = even.len() == digits.len() && format!("{even}e{scale}").parse() == Ok(number);
    if is_half && reads_back { even } else { digits }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{8}' => quoted.push_str("\\b"),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\u{c}' => quoted.push_str("\\f"),
            '\r' => quoted.push_str("\\r"),
            control if control < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => quoted.push(other),
        }
    }
    quoted + "\""
}

/// A value in which no object names a member twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Strict)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok((number as f64).into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok((number as f64).into())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((key, Strict(value))) = members.next_entry::<String, Strict>()? {
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(object.into())
    }
}
