//! One value, and one of the many texts that say it.
//!
//! Raw bytes seldom make JSON worth reading; so the fuzzer's bytes choose what the value is and how each part of it is spelled:
//! escapes, white space, order of members, digits of numbers.

use arbitrary::{Result, Unstructured};
use serde_json::{Map, Value};

/// An object and a text that says it.
pub fn object(bytes: &[u8]) -> Result<(Map<String, Value>, String)> {
    let mut text = String::new();
    let members = Speller { choices: Unstructured::new(bytes), text: &mut text }.object(0)?;
    Ok((members, text))
}

struct Speller<'b, 't> {
    choices: Unstructured<'b>,
    text: &'t mut String,
}

impl Speller<'_, '_> {
    fn value(&mut self, depth: usize) -> Result<Value> {
        let kinds = if depth < MAX_DEPTH { 8 } else { 6 };
        match self.choices.int_in_range(0..=kinds - 1)? {
            0 => Ok(self.word("null", Value::Null)),
            1 => Ok(self.word("true", true.into())),
            2 => Ok(self.word("false", false.into())),
            3 => self.number(),
            4 | 5 => Ok(self.string()?.into()),
            6 => self.array(depth),
            _ => Ok(self.object(depth)?.into()),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Value {
        self.text.push_str(word);
        value
    }

    fn array(&mut self, depth: usize) -> Result<Value> {
        let mut items = Vec::new();
        self.text.push('[');
        for at in 0..self.choices.int_in_range(0..=4)? {
            if at > 0 {
                self.text.push(',');
            }
            self.white()?;
            items.push(self.value(depth + 1)?);
            self.white()?;
        }
        self.text.push(']');
        Ok(items.into())
    }

    fn object(&mut self, depth: usize) -> Result<Map<String, Value>> {
        let mut members = Map::new();
        self.text.push('{');
        for _ in 0..self.choices.int_in_range(0..=6)? {
            let end = self.text.len();
            if !members.is_empty() {
                self.text.push(',');
            }
            self.white()?;
            let key = self.string()?;
            if members.contains_key(&key) {
                self.text.truncate(end);
                continue;
            }
            self.white()?;
            self.text.push(':');
            self.white()?;
            let value = self.value(depth + 1)?;
            self.white()?;
            members.insert(key, value);
        }
        self.text.push('}');
        Ok(members)
    }

    fn string(&mut self) -> Result<String> {
        let mut string = String::new();
        self.text.push('"');
        if self.choices.ratio(1, 8)? {
            string.push_str(self.choices.choose(&["signature", "data", "certificate_base64"])?);
            self.text.push_str(&string);
        }
        for _ in 0..self.choices.int_in_range(0..=8)? {
            let character = self.character()?;
            string.push(character);
            self.spell(character)?;
        }
        self.text.push('"');
        Ok(string)
    }

    fn character(&mut self) -> Result<char> {
        let range = match self.choices.int_in_range(0..=5)? {
            0 | 1 => 0x20..=0x7f,
            2 => 0..=0x1f,
            3 => return self.choices.choose(&['"', '\\', '/', '\u{7f}', '\u{2028}', '\u{feff}', '\u{fffd}']).copied(),
            4 => 0x80..=0xffff,
            _ => 0x10000..=0x10ffff,
        };
        let code = self.choices.int_in_range(range)?;
        Ok(char::from_u32(code).unwrap_or('\u{e000}'))
    }

    /// Raw, where JSON allows it; by letter, where it has one; by number.
    fn spell(&mut self, character: char) -> Result<()> {
        let letter = "\"\\/\u{8}\u{c}\n\r\t".find(character).map(|at| b"\"\\/bfnrt"[at] as char);
        let must_escape = character < ' ' || character == '"' || character == '\\';
        match (self.choices.int_in_range(0..=3)?, letter) {
            (0 | 1, _) if !must_escape => self.text.push(character),
            (0..=2, Some(letter)) => self.text.extend(['\\', letter]),
            (by_number, _) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let digits = if by_number == 3 { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
                    self.text.push_str(&digits);
                }
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Value> {
        let number = match self.choices.int_in_range(0..=3)? {
            0 => f64::from(self.choices.arbitrary::<i16>()?),
            1 => self.choices.arbitrary::<i64>()? as f64,
            2 => f64::from(self.choices.arbitrary::<i32>()?) / 1000.0,
            _ => f64::from_bits(self.choices.arbitrary()?),
        };
        let number = if number.is_finite() { number } else { f64::MAX };
        let plain = number.to_string();
        let spelled = match self.choices.int_in_range(0..=5)? {
            0 | 1 => plain,
            2 => format!("{number:E}"),
            3 => format!("{number:.25e}"), // more digits than a double has
            4 if plain.contains('.') => plain + "000",
            4 => plain + ".0",
            _ => format!("{number:e}").replace("e", "e+").replace("e+-", "e-00"),
        };
        self.text.push_str(&spelled);
        Ok(number.into())
    }

    fn white(&mut self) -> Result<()> {
        let white = self.choices.choose(&["", "", "", " ", "\n", "\r\n\t ", "  "])?;
        self.text.push_str(white);
        Ok(())
    }
}

const MAX_DEPTH: usize = 5;
